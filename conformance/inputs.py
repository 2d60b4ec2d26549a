"""Deterministic data for a case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from conformance.suite.case import Case

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class StepInputs:
    """x: the case's shape; grad_output: the output's shape.  Both rounded to the case's dtype, C order."""

    x: Array
    grad_output: Array


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything random about a case, bit for bit the same on every machine and library version."""

    params: dict[str, Array]  # in param_dtype
    buffers: dict[str, Array]  # in param_dtype; num_batches_tracked is int64 of shape ()
    steps: tuple[StepInputs, ...]


def make_inputs(case: Case) -> Inputs:
    """The inputs of a case."""
    raise NotImplementedError
