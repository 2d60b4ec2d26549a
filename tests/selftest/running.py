"""Runs the modules of the self-test through cases of the suite, in this process, and says what was found."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import cache

from conformance.backends.torch_module import TorchModule
from conformance.checking import judging
from conformance.diagnose import Diagnosis, Searches, diagnose
from conformance.engine.execute import Seat, SharedCase, Tools, execute
from conformance.engine.tools import standard
from conformance.record import BAD, Record
from conformance.suite.case import Case
from conformance.suite.loader import load_suite

ELEMENTS = 3_000  # of all steps of a case: what shows a mistake need not be large


@dataclass(frozen=True)
class Outcome:
    """What the suite and the diagnosis say about one module."""

    title: str
    records: tuple[Record, ...]
    diagnosis: Diagnosis
    seconds: float
    expected: tuple[str, ...] = ()

    @property
    def failing(self) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.verdict in BAD)

    @property
    def named(self) -> tuple[tuple[str, ...], ...]:
        return tuple(entry for cause in self.diagnosis.causes for entry in cause.mistakes)

    @property
    def rightly(self) -> bool:
        """Every expected mistake is named, alone or with others that nothing here tells from it."""
        return bool(self.named) and all(any(name in entry for entry in self.named) for name in self.expected)

    @property
    def wrongly(self) -> tuple[tuple[str, ...], ...]:
        """What is named and was not made."""
        return tuple(entry for entry in self.named if not set(entry) & set(self.expected))

    @property
    def budget(self) -> float:
        """The worst budget: of the failures where there are some."""
        found = self.failing or self.records
        return max((f.budget for r in found for f in r.figures if f.budget is not None), default=math.nan)


@cache
def _cases() -> tuple[Case, ...]:
    return load_suite().cases


def everything(op: str) -> tuple[Case, ...]:
    """Every case of an op that takes no minutes, as `conformance check` has them."""
    return tuple(case for case in _cases() if case.op == op and "slow" not in case.marks)


@cache
def sample(op: str) -> tuple[Case, ...]:
    """The small cases of an op that end in values; a layer by hand need not refuse what torch refuses."""
    return tuple(
        case
        for case in _cases()
        if case.op == op
        and case.raises is None
        and case.dtype != "int64"
        and math.prod(case.shape) * len(case.steps) <= ELEMENTS
        and case.optimizer is None
        and not case.resets
        and not case.marks
    )


@cache
def _tools() -> Tools:
    return standard()


_SHARED: dict[str, SharedCase] = {}


def shared(case: Case) -> SharedCase:
    """Inputs and expectation, once for all modules."""
    return _SHARED.setdefault(case.key, SharedCase(case, _tools()))


def outcome(title, op, factory, expected=(), *, as_checked=False, every=1) -> Outcome:
    """Run a module through every so many of the cases of an op.

    as_checked: whether it is judged as `conformance check` judges, for its numbers and not for torch's manners.
    """
    started = time.process_time()
    tools = judging.tools() if as_checked else replace(_tools(), suspects=Searches())
    seat = Seat(title, TorchModule(title, "cpu", factory), "", {})
    cases = sample(op)[::every]
    records = tuple(execute(shared(case), seat, tools, {}) for case in cases)
    diagnosis = diagnose(records, cases)
    return Outcome(title, records, diagnosis, time.process_time() - started, tuple(expected))
