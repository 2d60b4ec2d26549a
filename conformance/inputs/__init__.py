"""Deterministic data for a case."""

from __future__ import annotations

from conformance.inputs.make import Inputs, StepInputs, make_inputs

__all__ = ["Inputs", "StepInputs", "make_inputs"]
