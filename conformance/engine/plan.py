"""What a run will do: every (case, backend) that is asked for, in the order in which its record appears."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from conformance.engine.messages import Assignment
from conformance.errors import InternalError
from conformance.record import Record, Verdict
from conformance.suite.case import Case, Divergence


class Pair(NamedTuple):
    """One case, by its place in the plan, on one backend.  Exactly one record comes of it."""

    case: int
    backend: str


@dataclass(frozen=True)
class Plan:
    """Suite order times backend order, less what a sampled backend is not sent.

    ``only`` maps a backend to the keys of the cases it is sent; a backend that is absent from it is sent all.
    """

    cases: tuple[Case, ...]
    backends: tuple[str, ...]
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)
    divergences: Mapping[str, Divergence] = field(default_factory=dict)

    def sends(self, case: Case, backend: str) -> bool:
        """Whether the backend is sent the case."""
        return backend not in self.only or case.key in self.only[backend]

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Everything asked for, in the order of the records."""
        return tuple(
            Pair(number, backend)
            for number, case in enumerate(self.cases)
            for backend in self.backends
            if self.sends(case, backend)
        )

    @cached_property
    def position(self) -> dict[tuple[str, str], int]:
        """(id, backend) -> place in ``pairs``."""
        return {(self.cases[pair.case].id, pair.backend): place for place, pair in enumerate(self.pairs)}

    def assignments(self, pairs: Sequence[Pair]) -> tuple[Assignment, ...]:
        """The pairs gathered by case, in order of first appearance."""
        gathered: dict[int, list[str]] = {}
        for pair in pairs:
            gathered.setdefault(pair.case, []).append(pair.backend)
        return tuple(Assignment(self.cases[number], tuple(names)) for number, names in gathered.items())

    @property
    def left_out(self) -> dict[str, int]:
        """Backend -> number of selected cases that a sample keeps from it."""
        sent = Counter(pair.backend for pair in self.pairs)
        return {name: len(self.cases) - sent[name] for name in self.backends if sent[name] < len(self.cases)}

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that change when what is asked for changes."""
        text = "\n".join(
            f"{self.cases[pair.case].id} {self.cases[pair.case].key} {pair.backend}" for pair in self.pairs
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def check_complete(self, records: Iterable[Record]) -> None:
        """Every pair has exactly one record.

        Raises:
            InternalError: a record is absent, appears twice, or was never asked for.
        """
        seen = Counter((record.id, record.backend) for record in records)
        absent = [name for name in self.position if name not in seen]
        surplus = [name for name, count in seen.items() if count > 1 or name not in self.position]
        if absent or surplus:
            example = " on ".join((absent or surplus)[0])
            raise InternalError(
                f"the records do not add up: {len(self.pairs)} asked for, {sum(seen.values())} present, "
                f"{len(absent)} absent, {len(surplus)} more than once or never asked for; for example {example}",
                hint="this is a fault of conformance, not of a case; please report it with the record file",
            )


def plain_record(case: Case, backend: str, verdict: Verdict, reason: str, *, detail: str = "") -> Record:
    """A record without figures, for a verdict that needs no comparison."""
    return Record(
        id=case.id,
        key=case.key,
        backend=backend,
        op=case.op,
        dtype=case.dtype,
        verdict=verdict,
        reason=reason,
        where=f"{case.origin.file}:{case.origin.line}",
        detail=detail,
    )
