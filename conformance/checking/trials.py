"""Running cases one handful after another, in a worker process that is kept between them, or in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol, Self

from conformance.engine.execute import SharedCase, execute, take_seat, tools_from
from conformance.engine.limits import Limits
from conformance.engine.messages import Finished, Setup, UnitDone
from conformance.engine.plan import Pair, Plan, plain_record
from conformance.engine.schedule import Unit
from conformance.engine.worker import Event, StillbornError, Worker
from conformance.record import Record
from conformance.suite.case import Case

TICK = 0.25  # seconds between two looks at the limits


class Trials(Protocol):
    """What can run cases on a few backends."""

    def run(self, cases: Sequence[Case]) -> list[dict[str, Record]]:
        """For each case the record of each backend."""


class HereTrials:
    """In this process: for candidates that no other can import."""

    def __init__(self, backends: Sequence[str], tools: str) -> None:
        self._tools = tools_from(tools)
        self._seats = [take_seat(name, self._tools) for name in backends]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """There is nothing to end."""

    def run(self, cases: Sequence[Case]) -> list[dict[str, Record]]:
        """For each case the record of each backend."""
        found = []
        for case in cases:
            shared = SharedCase(case, self._tools)
            found.append({seat.name: execute(shared, seat, self._tools, {}) for seat in self._seats})
        return found


class _Steered(Worker):
    """A worker whose cases are not known beforehand."""

    def follow(self, plan: Plan) -> None:
        """Take the cases of this plan from now on."""
        self._plan = plan


class WorkerTrials:
    """In a process of its own, which is replaced when a case takes it down."""

    def __init__(self, backends: Sequence[str], tools: str, limits: Limits) -> None:
        self._backends = tuple(backends)
        self._limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="conformance-")
        self._setup = Setup(
            tools=tools,
            backends=self._backends,
            divergences={},
            log=str(Path(self._folder.name) / "worker.log"),
            mark=str(Path(self._folder.name) / "worker.mark"),
        )
        self._inbox: SimpleQueue[Event] = SimpleQueue()
        self._worker: _Steered | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._dismiss()
        self._folder.cleanup()

    def run(self, cases: Sequence[Case]) -> list[dict[str, Record]]:
        """For each case the record of each backend; a death is the record of the pair that it came with."""
        plan = Plan(tuple(cases), self._backends)
        records: dict[Pair, Record] = {}
        by_name = {(case.id, name): Pair(place, name) for place, case in enumerate(cases) for name in self._backends}
        fruitless = 0
        while left := [pair for pair in plan.pairs if pair not in records]:
            before = len(records)
            self._unit(plan, tuple(left), records, by_name)
            fruitless = fruitless + 1 if len(records) == before else 0
            if fruitless > 1:  # it dies before it gets to a case
                for pair in left:
                    case = plan.cases[pair.case]
                    records[pair] = plain_record(case, pair.backend, "error", "the worker could not start")
        return [{name: records[Pair(place, name)] for name in self._backends} for place in range(len(cases))]

    def _unit(
        self,
        plan: Plan,
        pairs: tuple[Pair, ...],
        records: dict[Pair, Record],
        by_name: dict[tuple[str, str], Pair],
    ) -> None:
        try:
            worker = self._worker = self._worker or _Steered(self._setup, plan, self._limits, self._inbox)
        except StillbornError:
            return
        worker.follow(plan)
        given = False
        while True:
            if worker.ready and not given:
                worker.give(Unit(pairs, prepare=False))
                given = True
            worker.watch()
            with suppress(Empty):
                speaker, message = self._inbox.get(timeout=TICK)
                if speaker is not worker:
                    continue
                if message is None:
                    self._mourn(worker, plan, records)
                    return
                worker.hear(message)
                if isinstance(message, Finished):
                    records |= {by_name[record.id, record.backend]: record for record in message.records}
                if isinstance(message, UnitDone):
                    return

    def _mourn(self, worker: _Steered, plan: Plan, records: dict[Pair, Record]) -> None:
        ending = worker.ending()
        if ending.at is not None:
            case = plan.cases[ending.at.case]
            records[ending.at] = plain_record(case, ending.at.backend, ending.kind, ending.reason, detail=ending.detail)
        self._dismiss()

    def _dismiss(self) -> None:
        if self._worker is not None:
            self._worker.dismiss()
            self._worker = None
