"""Who does what next, what a death means, and in which order records come out.  Pure: no process, no clock."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from conformance.engine.plan import Pair, Plan, plain_record
from conformance.errors import InternalError
from conformance.record import Record
from conformance.suite.case import Case, Divergence

LARGEST_UNIT = 96  # cases; so many exports in one call cost little more than one
SMALLEST_UNIT = 8
WINDOW = 20_000  # places that work may run ahead of the oldest pair without a record; bounds what is held back
CONFIRMATIONS = 3  # crashes alike that were confirmed alone, after which the next are believed at once
FRUITLESS = 5  # deaths in a row outside of any case
FROM_OUTSIDE = "SIGKILL"  # sent by a person, or by a system short of memory: says nothing of a case that then runs well


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive pairs of one op, for one worker.  ``alone`` asks for a fresh process with nothing before it."""

    pairs: tuple[Pair, ...]
    prepare: bool = True
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended before its unit did.

    ``at`` is the pair that it was running; None when it was preparing (``preparing`` names the backend) or idle.
    """

    kind: Literal["crash", "timeout"]
    reason: str  # "the worker died with SIGSEGV"
    detail: str
    at: Pair | None
    preparing: str = ""
    name: str = ""  # "SIGSEGV", "exit code 3", "timeout", "memory": what a divergence calls it


Foretold = Callable[[Case, str, str], Divergence | None]  # (case, backend, name of the death) -> who declared it


class Schedule:
    """Units out, records in; records come out in the order of the plan whatever order they came in."""

    def __init__(
        self,
        plan: Plan,
        done: Iterable[Record] = (),
        *,
        written: int = 0,
        foretold: Foretold = lambda *_: None,
        units: int = 8,
        confirmations: int = CONFIRMATIONS,
    ) -> None:
        """``done`` are records of earlier; the first ``written`` of them are not released again.

        A small plan is cut into so many ``units``, that there is something to do for everyone.  Of crashes alike the
        first few, ``confirmations``, are run again alone before they are believed.
        """
        self._confirmations = confirmations
        self._units = units
        self.notes: list[str] = []
        self._foretold = foretold
        self._plan = plan
        self._held: dict[int, Record] = {}
        self._recorded: set[int] = set()
        self._next = 0
        self._queue: list[tuple[int, int, Unit]] = []
        self._pushed = 0
        self._place = {pair: place for place, pair in enumerate(plan.pairs)}
        self._casualties: dict[Pair, str] = {}
        self._confirmed: Counter[tuple[str, str, str]] = Counter()
        self._fruitless = 0
        for number, record in enumerate(done):
            self.finished(record)
            if number < written:
                self._forget(record)
        for unit in self._cut():
            self._push(unit)

    # ---- work ------------------------------------------------------------------------------------------------------

    def _cut(self) -> Iterator[Unit]:
        todo = [pair for place, pair in enumerate(self._plan.pairs) if place not in self._recorded]
        cases = len({pair.case for pair in todo})
        size = min(
            LARGEST_UNIT, max(SMALLEST_UNIT, -(-cases // self._units))
        )  # the same whatever the number of workers
        unit: list[Pair] = []
        held: set[int] = set()
        for pair in todo:
            full = len(held) == size and pair.case not in held
            if unit and (full or self._plan.cases[pair.case].op != self._plan.cases[unit[0].case].op):
                yield Unit(tuple(unit))
                unit, held = [], set()
            unit.append(pair)
            held.add(pair.case)
        if unit:
            yield Unit(tuple(unit))

    def _push(self, unit: Unit) -> None:
        if unit.pairs:
            self._pushed += 1
            heapq.heappush(self._queue, (self._place[unit.pairs[0]], self._pushed, unit))

    def next_unit(self) -> Unit | None:
        """The earliest unit that waits; None when there is none, or when it is too far ahead to hold its records."""
        if not self._queue or self._queue[0][0] - self._next > WINDOW:
            return None
        return heapq.heappop(self._queue)[2]

    def put_back(self, unit: Unit) -> None:
        """Return a unit that was taken and not begun."""
        self._push(unit)

    @property
    def waiting(self) -> int:
        """Units that nobody has taken."""
        return len(self._queue)

    @property
    def complete(self) -> bool:
        """Whether every pair has its record."""
        return len(self._recorded) == len(self._plan.pairs)

    def unfinished(self, unit: Unit) -> tuple[Pair, ...]:
        """The pairs of a unit that have no record yet."""
        return tuple(pair for pair in unit.pairs if self._place[pair] not in self._recorded)

    def awaits(self, record: Record) -> bool:
        """Whether a record is asked for and is not there yet."""
        place = self._plan.position.get((record.id, record.backend))
        return place is not None and place not in self._recorded

    # ---- records ---------------------------------------------------------------------------------------------------

    def finished(self, record: Record) -> None:
        """Take a record.

        Raises:
            InternalError: nobody asked for it, or it is the second.
        """
        place = self._plan.position.get((record.id, record.backend))
        if place is None or place in self._recorded:
            what = "never asked for" if place is None else "the second of its pair"
            raise InternalError(f"a record of {record.id} on {record.backend} is {what}")
        before = self._casualties.pop(self._plan.pairs[place], None)
        if before is not None:
            note = f"{record.id} on {record.backend}: {before}; alone, in a fresh process, it did not"
            self.notes.append(note)
            if FROM_OUTSIDE not in before:
                record = msgspec.structs.replace(record, detail=f"{note}\n{record.detail}".strip())
        self._recorded.add(place)
        self._held[place] = record
        self._fruitless = 0

    def release(self) -> Iterator[Record]:
        """The records whose turn has come."""
        while self._next in self._held:
            yield self._held.pop(self._next)
            self._next += 1

    def _forget(self, record: Record) -> None:
        """Take a record as released.

        Raises:
            InternalError: its turn has not come.
        """
        if self._held.pop(self._next, None) is not record:
            raise InternalError(f"the record of {record.id} on {record.backend} is stored out of order")
        self._next += 1

    def holds(self, record: Record) -> bool:
        """Whether a record's turn has not come yet."""
        return self._plan.position[record.id, record.backend] in self._held

    # ---- deaths ----------------------------------------------------------------------------------------------------

    def ended(self, unit: Unit, ending: Ending) -> Record | None:
        """A worker died in a unit: blame exactly one pair, or none, and put the rest back.

        Returns the record of that pair, where the death is its verdict; it is taken already.

        Raises:
            InternalError: workers keep dying outside of any case.
        """
        rest = self.unfinished(unit)
        if ending.at is not None and ending.at in rest:
            record = self._blame(unit, ending, ending.at)
            self._push(Unit(tuple(pair for pair in rest if pair != ending.at), prepare=unit.prepare))
            return record
        if ending.preparing:  # each case then prepares itself, and the one that cannot is blamed by name
            self.notes.append(f"{ending.preparing}: {ending.reason} while it prepared a unit; its cases run one by one")
            self._push(Unit(rest, prepare=False, alone=unit.alone))
            return None
        self._fruitless += 1
        if self._fruitless >= FRUITLESS:
            raise InternalError(
                f"workers keep dying outside of any case: {ending.reason}", hint=ending.detail or "they left no words"
            )
        self._push(Unit(rest, prepare=unit.prepare, alone=unit.alone))
        return None

    def _blame(self, unit: Unit, ending: Ending, pair: Pair) -> Record | None:
        case = self._plan.cases[pair.case]
        kind = (case.op, pair.backend, ending.reason)
        if ending.kind == "crash" and not unit.alone and self._confirmed[kind] < self._confirmations:
            self._casualties[pair] = ending.reason
            self._push(Unit((pair,), prepare=False, alone=True))
            return None
        if ending.kind == "crash":
            self._confirmed[kind] += 1
            self._casualties.pop(pair, None)  # it died alone as well, whatever the verdict will be
        record = plain_record(case, pair.backend, ending.kind, ending.reason, detail=ending.detail)
        divergence = self._foretold(case, pair.backend, ending.name)
        if divergence is not None:
            told = f"{divergence.why} ({ending.reason})"
            record = msgspec.structs.replace(record, verdict="known", reason=told, divergence=divergence.id)
        self.finished(record)
        return record
