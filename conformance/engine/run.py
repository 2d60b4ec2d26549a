"""A run from plan to footer: workers or this process, records in order into the store, every pair accounted for."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import msgspec

from conformance.engine.limits import Limits, default_workers
from conformance.engine.messages import Finished, Note, Ready
from conformance.engine.plan import Plan
from conformance.engine.runtime import foretold
from conformance.engine.schedule import Schedule
from conformance.engine.store import EVIDENCE, Store, StoredRun, read_run
from conformance.errors import UsageError
from conformance.record import BAD, Cause, Footer, Header, Record
from conformance.suite.case import Case, Divergence

if TYPE_CHECKING:
    from conformance.engine.crew import Crew

STANDARD_TOOLS = "conformance.engine.tools:standard"


class Listener(Protocol):
    """Who watches a run go by: a progress bar."""

    def began(self, header: Header, done: int) -> None:
        """The header is known; so many records were in its file already."""

    def recorded(self, record: Record) -> None:
        """A record, as it is written."""

    def noted(self, text: str) -> None:
        """Something worth knowing that changes no verdict."""


@dataclass(frozen=True, slots=True)
class How:
    """How a run is executed; changes no record."""

    workers: int = field(default_factory=default_workers)
    in_process: bool = False
    limits: Limits = field(default_factory=Limits)
    tools: str = STANDARD_TOOLS
    executor: str = ""  # "dask://host:port": there, and not in workers of this machine
    crew: Crew | None = None  # workers of the caller, who has more for them to do and dismisses them


def machine() -> dict[str, str]:
    """What a header says about this machine."""
    return {"system": platform.system(), "machine": platform.machine(), "python": platform.python_version()}


def run(plan: Plan, store: Store, header: Header, listener: Listener, how: How) -> StoredRun:
    """Run what is left of a plan and return the whole run.

    ``header`` holds what the caller knows (command, extra); the rest is filled in from the first worker.
    A KeyboardInterrupt leaves the store without a footer and everything that was done in it, and goes on up.

    Raises:
        UsageError: a resumed run does not fit this plan or these versions.
        InternalError: the records do not add up.
    """
    if store.header is not None and store.header.suite != plan.digest:
        store.close()
        raise UsageError(
            f"the cases or backends changed since the run in {store.path} began: it cannot be resumed",
            hint="start a new run: conformance run",
        )
    return _Run(plan, store, header, listener).carry_out(how)


class _Run:
    """A run under way: what the workers say becomes a header, records in order, and a footer."""

    def __init__(self, plan: Plan, store: Store, header: Header, listener: Listener) -> None:
        self._plan = plan
        self._store = store
        self._header = header
        self._listener = listener
        self._schedule = Schedule(plan, store.done, written=store.written, foretold=self._foretold)
        self._verdicts: Counter[str] = Counter(
            record.verdict for record, _ in zip(store.done, range(store.written), strict=False)
        )
        self._introduced = False

    def carry_out(self, how: How) -> StoredRun:
        started = time.perf_counter()
        evidence = str(self._store.folder / EVIDENCE)
        place = _in_process if how.in_process else _on_dask if how.executor else _in_workers
        events = place(self._plan, self._schedule, how, evidence)
        try:
            for event in events:
                match event:
                    case Ready():
                        self._introduce(event)
                    case Note(text=text):
                        self._listener.noted(text)
                    case Finished(records=records):
                        self._write()
                        self._store.hold([record for record in records if self._schedule.holds(record)])
                self._pass_on_notes()
            self._write()
            self._pass_on_notes()
            return self._finish(time.perf_counter() - started)
        finally:
            events.close()
            self._store.close()

    def _finish(self, seconds: float) -> StoredRun:
        """Check what is on the disk, not what is remembered; then the footer may say that it is complete."""
        stored = read_run(self._store.path)
        self._plan.check_complete(stored.records)
        footer = Footer(
            records=self._verdicts.total(),
            verdicts=dict(self._verdicts),
            seconds=round(seconds, 3),
            causes=self._causes(stored.records),
        )
        self._store.finish(footer)
        return replace(stored, footer=footer)

    def _causes(self, records: Sequence[Record]) -> tuple[Cause, ...]:
        """What the failures of each op and backend have in common."""
        if not any(self._verdicts[verdict] for verdict in BAD):
            return ()
        if not any(record.suspicion for record in records):
            return ()
        from conformance.diagnose import diagnose

        return diagnose(records, self._plan.cases).causes

    def _write(self) -> None:
        released = list(self._schedule.release())
        self._store.add(released)
        for record in released:
            self._verdicts[record.verdict] += 1
            self._listener.recorded(record)

    def _foretold(self, case: Case, backend: str, death: str) -> Divergence | None:
        """The divergence that declares that this case dies here, by ``raises: {type: SIGSEGV, match: died}``."""
        versions = self._store.header.versions if self._store.header else {}
        return foretold(case, backend, death, self._plan.divergences, versions)

    def _pass_on_notes(self) -> None:
        while self._schedule.notes:
            self._listener.noted(self._schedule.notes.pop(0))

    def _introduce(self, ready: Ready) -> None:
        """The first worker's introduction makes the header; every other must agree with it."""
        versions = {name: ready.versions[name] for name in sorted(ready.versions)}
        if self._store.header is None:
            self._store.begin(self._complete_header(ready, versions))
        known = self._store.header
        assert known is not None
        if known.versions != versions or known.missing != ready.missing:
            changed = sorted(set(known.versions.items()) ^ set(versions.items())) or sorted(ready.missing.items())
            raise UsageError(
                f"the packages or devices are not those with which the run in {self._store.path} began: {changed}",
                hint="start a new run: conformance run",
            )
        if not self._introduced:
            self._introduced = True
            self._listener.began(known, self._store.written)

    def _complete_header(self, ready: Ready, versions: dict[str, str]) -> Header:
        return msgspec.structs.replace(
            self._header,
            versions=versions,
            machine=machine() | ready.devices,
            suite=self._plan.digest,
            cases=len(self._plan.cases),
            backends=self._plan.backends,
            missing=ready.missing,
            left_out=self._plan.left_out,
            expected=len(self._plan.pairs),
        )


Events = Generator[Ready | Finished | Note, None, None]


def _in_workers(plan: Plan, schedule: Schedule, how: How, evidence: str) -> Events:
    if how.crew is not None:
        how.crew.take_up(plan, schedule)
        yield from how.crew.work()
        return
    from conformance.engine.crew import Crew

    crew = Crew(plan, schedule, size=how.workers, limits=how.limits, tools=how.tools, evidence=evidence)
    try:
        yield from crew.work()
    finally:
        crew.dismiss()


def _on_dask(plan: Plan, schedule: Schedule, how: How, evidence: str) -> Events:  # noqa: ARG001 - evidence stays there
    """On the machines of a dask cluster; what backends keep of failures is not brought here."""
    from conformance.engine.dask_executor import work

    yield from work(plan, schedule, address=how.executor, tools=how.tools, limits=how.limits)


def _in_process(plan: Plan, schedule: Schedule, how: How, evidence: str) -> Events:
    """No isolation, for debuggers: a crash ends everything, and limits of time and memory are not kept."""
    from conformance.engine.bench import Bench, Teller
    from conformance.engine.execute import tools_from

    class Notes(Teller):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def note(self, text: str) -> None:
            self.texts.append(text)

    notes = Notes()
    tools = tools_from(how.tools)
    bench = Bench(plan.backends, tools, plan.divergences, notes, evidence)
    yield bench.introduction()
    while (unit := schedule.next_unit()) is not None:
        for record in bench.run(plan.assignments(unit.pairs), prepare=unit.prepare):
            schedule.finished(record)
            yield Finished((record,))
            while notes.texts:
                yield Note(notes.texts.pop(0))
