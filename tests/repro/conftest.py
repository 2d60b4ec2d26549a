"""Faults to reproduce: known pairs of the shipped suite, found by running them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from conformance.errors import ConformanceError
from conformance.inputs import make_inputs
from conformance.record import Figure, Record
from conformance.repro.fault import Fault
from conformance.repro.find import examined
from conformance.suite.case import Case, Divergence
from conformance.suite.loader import load_suite

TRIES = 12  # cases of a divergence that are worth running until one shows it


@pytest.fixture(scope="session")
def suite():
    return load_suite(None)


@pytest.fixture(scope="session")
def faults(suite) -> Callable[..., Iterator[Fault]]:
    """``faults(backend, words)``: the first case that shows each divergence whose id contains one of the words."""

    def found(backend: str, *words: str, wanted: Callable[[Case], bool] = lambda case: True) -> Iterator[Fault]:
        for divergence in suite.divergences.values():
            named = divergence.when.get("backend", backend)
            if backend not in ([named] if isinstance(named, str) else named):
                continue
            if not any(word in divergence.id for word in words) or _deadly(divergence):
                continue
            cases = [case for case in suite.cases if divergence.id in case.divergences and wanted(case)]
            small = sorted(cases, key=lambda case: (len(case.steps), *sorted(case.shape, reverse=True)))
            for case in small[:TRIES]:
                try:
                    fault = examined(case, backend, suite, in_process=True)
                except ConformanceError:
                    continue
                yield fault
                break

    return found


def _deadly(divergence: Divergence) -> bool:
    """Whether what it declares would end this process too."""
    return divergence.raises is not None and divergence.raises.type.startswith("SIG")


@pytest.fixture
def fault_of() -> Callable[..., Fault]:
    """A fault in the first element of a quantity, as if torch had shown one."""

    def made(case: Case, quantity: str = "grad_input", step: int = 0) -> Fault:
        backend = SimpleNamespace(name="torch-cpu", observes=(), versions=lambda: {"torch": "0"})
        record = Record(id=case.id, key=case.key, backend="torch-cpu", op=case.op, dtype=case.dtype, verdict="fail")
        index = (0,) * len(case.shape)
        figure = Figure(quantity=quantity, step=step, budget=2.0, error=1.0, allowed=0.5, index=index)
        return Fault(case, make_inputs(case), backend, record, "value", figure=figure)

    return made
