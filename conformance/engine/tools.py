"""The tools of a real run; imported in the process that executes cases, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conformance import backends
from conformance.backends.toolchain import version_of
from conformance.diagnose import Searches
from conformance.engine.execute import Tools
from conformance.input_cache import standard_inputs
from conformance.inputs import make_inputs
from conformance.inputs.make import stored
from conformance.judge import Expectation, Judgement, judge
from conformance.observation import Array, Observation
from conformance.reference_cache import standard_references
from conformance.suite.case import Case, Divergence

QUIET = ("pass", "known", "unsupported")


def devices() -> dict[str, str]:
    """What a headline must say about this machine's devices."""
    missing = _no_cuda_by_its_version() or backends.load("torch-cuda").available()
    return {"cuda": f"none ({missing})" if missing else "present"}


def _no_cuda_by_its_version() -> str | None:
    """What torch would say if it was built without CUDA, which its version tells; importing torch takes seconds."""
    version = version_of("torch")
    return f"no CUDA device (torch {version})" if version.endswith("+cpu") else None


def rounded(expectation: Expectation) -> tuple[dict[str, Array], ...]:
    """What is expected of each step, by quantity, rounded to the type in which it is stored."""
    with np.errstate(all="ignore"):
        return tuple(
            {name: stored(quantity.value, quantity.stored) for name, quantity in step.quantities.items()}
            for step in expectation.steps()
        )


def judged(
    case: Case,
    expectation: Expectation,
    observation: Observation,
    observes: tuple[str, ...],
    divergences: Sequence[Divergence],
) -> Judgement:
    """The verdict; one that somebody will act on is never reached from a kept result of a reference."""
    said = judge(case, expectation, observation, observes, divergences)
    if said.verdict not in QUIET and expectation.remembered:
        expectation.doubt()
        said = judge(case, expectation, observation, observes, divergences)
    return said


def standard() -> Tools:
    """Backends by name, inputs, expectation and judge of this package."""
    memory = standard_references()
    return Tools(
        load=backends.load,
        make_inputs=standard_inputs() or make_inputs,
        expect=lambda case, inputs: Expectation(case, inputs, memory),
        judge=judged,
        devices=devices,
        rounded=rounded,
        suspects=Searches(),
    )
