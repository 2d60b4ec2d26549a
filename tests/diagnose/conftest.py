"""Modules from the self-test, and what the suite sees of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conformance.backends.torch_module import TorchModule
from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.observation import Observation
from conformance.record import Figure
from conformance.suite.case import Case

sys.path.insert(0, str(Path(__file__).parents[1] / "selftest"))


@dataclass(frozen=True)
class Seen:
    """A case as it went on a module."""

    case: Case
    expectation: Any
    observation: Observation
    verdict: str
    figures: tuple[Figure, ...]


@pytest.fixture(scope="session")
def seen(case_of):
    """Run a module on a case: ``seen(make, "BatchNorm2d", (4, 3, 5, 6), steps=("train",))``."""

    def run(make, op, shape, dtype="float32", **given):
        case = case_of(op, shape, dtype, **({"data": "scaled"} | given))
        inputs = make_inputs(case)
        expectation = Expectation(case, inputs)
        observation = TorchModule("mine", "cpu", make).run(case, inputs)
        judged = judge(case, expectation, observation)
        return Seen(case, expectation, observation, judged.verdict, judged.figures)

    return run
