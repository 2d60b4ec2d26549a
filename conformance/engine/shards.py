"""A run in parts, for several machines: which cases a part holds, and one record file of all of them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from conformance.engine.plan import Plan
from conformance.engine.store import Store, find, lines_of
from conformance.errors import InternalError, NothingSelected, UsageError
from conformance.record import Footer, Header, Record

SHARD = "shard"  # the name in a header's extra
MOST = 10_000
_TEXT = re.compile(r"([1-9][0-9]{0,4})/([1-9][0-9]{0,4})")


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """Part ``number`` of ``of``, and what the whole is; kept in the header of the part."""

    number: int
    of: int
    suite: str = ""  # digest of the whole plan
    cases: int = 0  # of the whole plan
    sent: int = 0  # those among them that go to a backend at all; dealt out in turn
    expected: int = 0  # records of the whole
    left_out: dict[str, int] = {}

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def parse(text: str) -> Shard:
    """``2/3`` is the second of three parts.

    Raises:
        UsageError: it is something else.
    """
    found = _TEXT.fullmatch(text)
    if found is None or not int(found[1]) <= int(found[2]) <= MOST:
        raise UsageError(
            f"'{text}' is not a part of a run",
            hint=f"write i/n, such as 1/4 for the first of four parts; n is at most {MOST:,}",
        )
    return Shard(number=int(found[1]), of=int(found[2]))


def cut(plan: Plan, shard: Shard) -> tuple[Plan, Shard]:
    """The part of a plan, and the shard with what the whole is.

    The cases are dealt out in turn, so that parts take about equally long, and so that the order of the whole is
    known from the parts alone.

    Raises:
        NothingSelected: there are fewer cases than parts.
    """
    sent = sorted({pair.case for pair in plan.pairs})
    mine = sent[shard.number - 1 :: shard.of]
    if not mine:
        raise NothingSelected(
            f"part {shard} holds no case: {len(sent)} are selected", hint="cut the run into fewer parts"
        )
    whole = msgspec.structs.replace(
        shard,
        suite=plan.digest,
        cases=len(plan.cases),
        sent=len(sent),
        expected=len(plan.pairs),
        left_out=plan.left_out,
    )
    cases = tuple(plan.cases[number] for number in mine)
    return Plan(cases, plan.backends, plan.only, plan.divergences), whole


def shard_of(header: Header) -> Shard | None:
    """Which part of a run a header speaks of; None for a whole run."""
    found = header.extra.get(SHARD)
    return None if found is None else msgspec.convert(found, Shard)


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part, of which only the first line and the last are in memory."""

    path: Path
    header: Header
    shard: Shard
    footer: Footer

    def cases(self) -> Iterator[tuple[Record, ...]]:
        """The records of each case."""
        held: list[Record] = []
        for line in lines_of(self.path):
            if not isinstance(line, Record):
                continue
            if held and held[0].id != line.id:
                yield tuple(held)
                held = []
            held.append(line)
        if held:
            yield tuple(held)


def open_part(path: Path) -> Part:
    """A complete part.

    Raises:
        UsageError: there is no run, it is no part of one, or it was interrupted.
    """
    file = find(path)
    lines = lines_of(file)
    header, last = next(lines), None
    assert isinstance(header, Header)
    for line in lines:
        last = line
    shard = shard_of(header)
    if shard is None:
        raise UsageError(
            f"{file} is a whole run, not a part of one", hint="parts are made by: conformance run --shard i/n"
        )
    if not isinstance(last, Footer):
        raise UsageError(
            f"{file}: part {shard} was interrupted", hint=f"finish it first: conformance run --resume {file.parent}"
        )
    return Part(file, header, shard, last)


def merge(parts: Sequence[Part], store: Store, header: Header) -> Path:
    """Write the run whose parts fit together, in order, as if it had run in one; return its record file.

    ``header`` says who joins them; the rest comes from the parts.  Records stream: memory does not grow.

    Raises:
        InternalError: their records do not add up.
    """
    first = parts[0]
    store.begin(_whole(parts, header))
    digest, verdicts, count = hashlib.sha256(), Counter[str](), 0
    for record in in_turn([part.cases() for part in parts]):
        digest.update(f"{chr(10) if count else ''}{record.id} {record.key} {record.backend}".encode())
        verdicts[record.verdict] += 1
        count += 1
        store.add([record])
    if digest.hexdigest()[:12] != first.shard.suite:
        raise InternalError(
            f"the records of {len(parts)} parts do not add up: {count} found, {first.shard.expected} expected",
            hint="a part was changed by hand, or conformance is at fault; then please report it with the record files",
        )
    seconds = round(sum(part.footer.seconds for part in parts), 3)
    causes = tuple(cause for part in parts for cause in part.footer.causes)
    store.finish(Footer(records=count, verdicts=dict(verdicts), seconds=seconds, causes=causes))
    return store.path


def in_turn(parts: Sequence[Iterator[tuple[Record, ...]]]) -> Iterator[Record]:
    """One case from each part in turn, until none has any left."""
    waiting = list(parts)
    while waiting:
        for part in list(waiting):
            records = next(part, None)
            if records is None:
                waiting.remove(part)
            else:
                yield from records


def fitting(parts: Iterable[Part]) -> list[Part]:
    """The parts in order of their numbers.

    Raises:
        UsageError: they are not each part of one whole, once.
    """
    found: dict[int, Part] = {}
    for part in parts:
        first = next(iter(found.values()), part)
        _must_fit(first, part)
        other = found.setdefault(part.shard.number, part)
        if other is not part:
            raise UsageError(f"part {part.shard} is given twice: {other.path} and {part.path}", hint="give each once")
    some = next(iter(found.values())).shard
    absent = [str(number) for number in range(1, min(some.of, some.sent) + 1) if number not in found]
    if absent:
        raise UsageError(
            f"of {some.of} parts {len(absent)} {'is' if len(absent) == 1 else 'are'} absent: {', '.join(absent[:20])}",
            hint=f"run them, such as: conformance run --shard {absent[0]}/{some.of}",
        )
    return [found[number] for number in sorted(found)]


def _must_fit(first: Part, part: Part) -> None:
    for what, name in (
        ("suites", "suite"),
        ("numbers of parts", "of"),
        ("versions of conformance", "conformance"),
        ("versions", "versions"),
        ("backends", "backends"),
        ("missing backends", "missing"),
    ):
        place = Shard if name in ("suite", "of") else Header
        one, other = (getattr(each.shard if place is Shard else each.header, name) for each in (first, part))
        if one != other:
            raise UsageError(
                f"these are parts of different runs: {first.path} and {part.path} differ in their {what}: "
                f"{_differing(one, other)}",
                hint="merge what ran the same cases on the same versions",
            )


def _differing(one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        return ", ".join(f"{name} {one.get(name, 'absent')} and {other.get(name, 'absent')}" for name in names)
    return f"{_plain(one)} and {_plain(other)}"


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _whole(parts: Sequence[Part], header: Header) -> Header:
    first = parts[0]
    machines = {
        name: dict.fromkeys(part.header.machine.get(name, "?") for part in parts) for name in first.header.machine
    }
    return msgspec.structs.replace(
        first.header,
        conformance=header.conformance,
        suite=first.shard.suite,
        cases=first.shard.cases,
        left_out=first.shard.left_out,
        expected=first.shard.expected,
        machine={name: ", ".join(values) for name, values in machines.items()},
        started=min(part.header.started for part in parts),
        command=header.command,
        extra={name: value for name, value in first.header.extra.items() if name != SHARD}
        | {"merged": [str(part.path.parent) for part in parts]},
    )
