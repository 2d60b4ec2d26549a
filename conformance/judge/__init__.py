"""The judge: allowance, comparison, verdict."""

from __future__ import annotations

from conformance.judge.expectation import Expectation
from conformance.judge.verdict import Judgement, describe, judge

__all__ = ["Expectation", "Judgement", "describe", "judge"]
