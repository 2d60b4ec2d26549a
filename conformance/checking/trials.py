"""Running cases one handful after another: in the warm worker processes of a run, or in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from conformance.engine.crew import Crew
from conformance.engine.limits import Limits
from conformance.engine.plan import Plan
from conformance.engine.schedule import Schedule
from conformance.record import Record
from conformance.suite.case import Case

TRIAL = "check trial"  # the group of a case that is only tried: nobody asks what is wrong with it


class Trials(Protocol):
    """What can run cases on a few backends."""

    def run(self, cases: Sequence[Case]) -> list[dict[str, Record]]:
        """For each case the record of each backend."""


class HereTrials:
    """In this process: for candidates that no other can import."""

    def __init__(self, backends: Sequence[str], tools: str) -> None:
        from conformance.engine.execute import take_seat, tools_from  # with NumPy: not before workers are at work

        self._tools = tools_from(tools)
        self._seats = [take_seat(name, self._tools) for name in backends]

    def run(self, cases: Sequence[Case]) -> list[dict[str, Record]]:
        """For each case the record of each backend."""
        from conformance.engine.execute import SharedCase, execute

        found = []
        for case in cases:
            shared = SharedCase(case, self._tools)
            found.append({seat.name: execute(shared, seat, self._tools, {}) for seat in self._seats})
        return found


class CrewTrials:
    """In worker processes that have run cases before, each replaced when a case takes it down.

    limits: of a trial, where they are not those of the crew.
    """

    def __init__(self, crew: Crew, backends: Sequence[str], limits: Limits | None = None) -> None:
        self._crew = crew
        self._limits = limits
        self._backends = tuple(backends)

    def run(self, cases: Sequence[Case]) -> list[dict[str, Record]]:
        """For each case the record of each backend; a death is the record of the pair that it came with.

        Raises:
            InternalError: no process can be started any more.
        """
        plan = Plan(tuple(cases), self._backends)
        schedule = Schedule(plan, confirmations=0)  # what is smallest shows by itself whether it always crashes
        self._crew.take_up(plan, schedule, self._limits)
        for _ in self._crew.work():
            pass
        records = {(record.id, record.backend): record for record in schedule.release()}
        return [{name: records[case.id, name] for name in self._backends} for case in cases]
