"""The judge: allowance, comparison, verdict."""

from __future__ import annotations

from conformance.judge.expectation import Expectation
from conformance.judge.verdict import Judgement, judge
from conformance.judge.words import describe

__all__ = ["Expectation", "Judgement", "describe", "judge"]
