"""The workers of a run together: started, fed from the schedule, watched, replaced, dismissed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec

from conformance.engine.limits import Limits
from conformance.engine.messages import Finished, FromWorker, Loading, Note, Ready, Setup, UnitDone
from conformance.engine.plan import Plan
from conformance.engine.schedule import FROM_OUTSIDE, FRUITLESS, Ending, Schedule
from conformance.engine.worker import Event, StillbornError, Worker
from conformance.errors import InternalError

TICK = 0.25  # seconds between two looks at the limits


class Crew:
    """Up to ``size`` worker processes at work on one schedule."""

    def __init__(self, plan: Plan, schedule: Schedule, *, size: int, limits: Limits, tools: str, evidence: str) -> None:
        self._plan = plan
        self._schedule = schedule
        self._size = size
        self._limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="conformance-")
        self._setup = Setup(
            tools=tools, backends=plan.backends, divergences=dict(plan.divergences), log="", mark="", evidence=evidence
        )
        self._inbox: SimpleQueue[Event] = SimpleQueue()
        self._workers: list[Worker] = []
        self._started = 0
        self._stillborn = 0  # workers in a row that were killed before they were ready
        self._loading: dict[Worker, str] = {}

    def take_up(self, plan: Plan, schedule: Schedule, limits: Limits | None = None) -> None:
        """Turn to another plan for the same backends, with the workers warm as they are; the last one is complete."""
        self._plan, self._schedule = plan, schedule
        self._limits = limits or self._limits
        for worker in self._workers:
            worker.take_up(plan, self._limits)

    def work(self) -> Iterator[Ready | Finished | Note]:
        """Yield what the workers say until every pair has its record; the schedule has heard it already.

        Raises:
            InternalError: a worker cannot even start.
        """
        looked = 0.0
        while not self._schedule.complete:
            self._employ()
            with suppress(Empty):
                yield from self._hear(*self._inbox.get(timeout=TICK))
            if time.monotonic() > looked + TICK:
                looked = time.monotonic()
                for worker in self._workers:
                    worker.watch()

    def dismiss(self) -> None:
        """End every worker."""
        for worker in self._workers:
            worker.dismiss()
        self._workers.clear()
        self._folder.cleanup()

    def _start(self) -> None:
        self._started += 1
        name = str(Path(self._folder.name) / f"worker-{self._started}")
        setup = msgspec.structs.replace(self._setup, log=f"{name}.log", mark=f"{name}.mark")
        try:
            self._workers.append(Worker(setup, self._plan, self._limits, self._inbox))
        except StillbornError as death:
            self._mourn(death.ending, "before it loaded anything")

    def _employ(self) -> None:
        """Give every worker a unit, and the next one; start a worker while there is more to do than hands."""
        for worker in list(self._workers):
            if worker.ready and not worker.units:
                self._give(worker)
        for worker in list(self._workers):
            # the last units wait for whoever first has nothing to do
            if worker.ready and len(worker.units) == 1 and self._schedule.waiting >= self._size:
                self._give(worker)
        starting = sum(not worker.ready for worker in self._workers)
        while len(self._workers) < self._size and starting < self._schedule.waiting:
            self._start()
            starting += 1

    def _give(self, worker: Worker) -> None:
        unit = self._schedule.next_unit()
        if unit is None:
            return
        if not unit.alone or worker.fresh:
            worker.give(unit)
            return
        self._schedule.put_back(unit)
        if not worker.units:
            self._dismiss(worker)  # its replacement has nothing before it

    def _dismiss(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self._loading.pop(worker, None)
        worker.dismiss()

    def _hear(self, worker: Worker, message: FromWorker | None) -> Iterator[Ready | Finished | Note]:
        if worker not in self._workers:
            return  # the last words of one that was dismissed
        if message is None:
            yield from self._bury(worker)
            return
        worker.hear(message)
        match message:
            case Loading(backend=backend):
                self._loading[worker] = backend
            case Finished(records=records):
                for record in records:
                    self._schedule.finished(record)
                yield message
            case Ready():
                self._stillborn = 0
                yield message
            case Note():
                yield message
            case UnitDone() if worker.heavy:
                for unit in worker.units:
                    self._schedule.put_back(unit)
                self._dismiss(worker)
            case _:
                pass

    def _bury(self, worker: Worker) -> Iterator[Finished]:
        ending = worker.ending()
        units = worker.units
        loading = self._loading.get(worker, "")
        self._dismiss(worker)
        if not worker.ready:
            self._mourn(ending, f"while it loaded {loading}" if loading else "before it loaded anything")
        if units:
            record = self._schedule.ended(units.popleft(), ending)
            if record is not None:  # said at once: where every case dies, no worker ever says anything
                yield Finished((record,))
        for unit in units:
            self._schedule.put_back(unit)

    def _mourn(self, ending: Ending, place: str) -> None:
        """A worker died before it was ready: try another when it was killed from outside, but not for ever."""
        self._stillborn += 1
        if ending.name != FROM_OUTSIDE or self._stillborn >= FRUITLESS:
            raise InternalError(f"a worker could not start: {ending.reason} {place}", hint=ending.detail)
