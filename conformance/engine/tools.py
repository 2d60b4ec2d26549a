"""The tools of a real run; imported in the process that executes cases, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

from conformance import backends
from conformance.engine.execute import Tools
from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.suite.case import Case, Divergence
from conformance.suite.when import case_context, holds


def applicable(case: Case, divergences: Mapping[str, Divergence], runtime: Mapping[str, str]) -> list[Divergence]:
    """The declared divergences whose every condition holds for this case, here."""
    declared = [divergences[name] for name in case.divergences if name in divergences]
    context = {**case_context(case), **runtime} if declared else {}
    return [divergence for divergence in declared if holds(divergence.when, context)]


def devices() -> dict[str, str]:
    """What a headline must say about this machine's devices."""
    missing = backends.load("torch-cuda").available()
    return {"cuda": f"none ({missing})" if missing else "present"}


def standard() -> Tools:
    """Backends by name, inputs, expectation and judge of this package."""
    return Tools(
        load=backends.load,
        make_inputs=make_inputs,
        expect=Expectation,
        applicable=applicable,
        judge=judge,
        devices=devices,
    )
