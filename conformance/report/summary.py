"""What a run amounts to.  Decides what is worth saying; draws nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from conformance.engine.store import StoredRun
from conformance.record import BAD, VERDICTS, Cause, Figure, Record, Verdict

_NUMBERED = re.compile(r"(?<=[A-Za-z])_?\d+\b")  # node 0 and node 7 of a graph have the same trouble
OK, FAILURES, INTERRUPTED, NOTHING = 0, 1, 2, 5

GLYPHS: dict[Verdict, str] = {
    "pass": ".",
    "fail": "F",
    "error": "E",
    "crash": "C",
    "timeout": "T",
    "known": "k",
    "fixed": "x",
    "unsupported": "u",
    "missing": "-",
}


@dataclass(frozen=True, slots=True)
class Worst:
    """The largest budget that an op used, where it is judged by its budget."""

    budget: float
    dtype: str
    quantity: str
    backend: str


@dataclass(frozen=True, slots=True)
class KnownGroup:
    """The records that one declared divergence explains."""

    divergence: str
    why: str
    see: str
    where: str
    backends: tuple[tuple[str, int], ...]
    sizes: tuple[tuple[str, float, float], ...]  # quantity, smallest and largest max|error| / max|reference|
    example: str

    @property
    def count(self) -> int:
        return sum(count for _, count in self.backends)


@dataclass(frozen=True, slots=True)
class Unseen:
    """A declared divergence, or one quantity of it, that no case of the run shows."""

    divergence: str
    quantity: str  # empty: none of it is seen
    agreed: int  # records that pass where it is declared
    where: str


@dataclass(frozen=True, slots=True)
class ReasonGroup:
    """Records of one backend that share a verdict and a reason."""

    backend: str
    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures alike in op, backend, verdict, dtype, and quantity or reason.  The first stands for all."""

    records: tuple[Record, ...]
    worst: float | None  # budget

    @property
    def first(self) -> Record:
        return self.records[0]


@dataclass(frozen=True)
class Summary:
    """A run, counted and grouped.  Every record is in exactly one cell of ``table`` and one entry of ``counts``."""

    run: StoredRun

    @property
    def paths(self) -> tuple[str, ...]:
        """The case files that the command named; none when it ran the shipped ones."""
        return tuple(self.run.header.extra.get("paths", ()))

    @cached_property
    def counts(self) -> dict[Verdict, int]:
        """Verdict -> records, in the order of VERDICTS, without zeros."""
        seen = Counter(record.verdict for record in self.run.records)
        return {verdict: seen[verdict] for verdict in VERDICTS if seen[verdict]}

    @cached_property
    def table(self) -> dict[str, dict[str, dict[Verdict, int]]]:
        """Op -> backend -> verdict -> records."""
        cells: dict[str, dict[str, Counter[Verdict]]] = {}
        for record in self.run.records:
            row = cells.setdefault(record.op, {})
            row.setdefault(record.backend, Counter())[record.verdict] += 1
        return {
            op: {name: {v: cell[v] for v in VERDICTS if cell[v]} for name, cell in row.items()}
            for op, row in cells.items()
        }

    @cached_property
    def worst(self) -> dict[str, Worst]:
        """Op -> the worst budget among its passes and failures; what is known or merely unsupported does not count."""
        found: dict[str, Worst] = {}
        for record in self.run.records:
            if record.verdict not in ("pass", "fail"):
                continue
            for figure in record.figures:
                if figure.budget is not None and (record.op not in found or figure.budget > found[record.op].budget):
                    found[record.op] = Worst(figure.budget, record.dtype, figure.quantity, record.backend)
        return found

    @cached_property
    def failures(self) -> tuple[Record, ...]:
        """Everything that makes the run fail, in suite order."""
        return tuple(record for record in self.run.records if record.verdict in BAD)

    @cached_property
    def failure_groups(self) -> tuple[FailureGroup, ...]:
        """The failures, those alike together, in the order in which the first of each appears."""
        groups: dict[tuple[str, ...], list[Record]] = {}
        for record in self.failures:
            over = bad_figures(record)
            sign = over[0].quantity if over else record.reason
            groups.setdefault((record.op, record.backend, record.verdict, record.dtype, sign), []).append(record)
        return tuple(FailureGroup(tuple(records), _worst_budget(records)) for records in groups.values())

    @cached_property
    def fixed(self) -> tuple[Record, ...]:
        """Where a declared divergence is no longer seen."""
        return tuple(record for record in self.run.records if record.verdict == "fixed")

    @cached_property
    def unseen(self) -> tuple[Unseen, ...]:
        """What is declared for cases that ran and that none of them shows: whole divergences, or quantities of them.

        Of a quantity that no backend of the run compares, such as a gradient of a graph without one, nothing is said.
        """
        agreed: Counter[str] = Counter()
        compared: dict[str, set[str]] = {}
        deviating: dict[str, set[str]] = {}
        for record in self.run.records:
            for name in filter(None, record.divergence.split(",")):
                compared.setdefault(name, set()).update(figure.quantity for figure in record.figures)
                if record.verdict == "pass":
                    agreed[name] += 1
                elif record.verdict == "known":
                    deviating.setdefault(name, set()).update(figure.quantity for figure in bad_figures(record))
        whole = [Unseen(name, "", count, self._where(name)) for name, count in agreed.items() if name not in deviating]
        parts = [
            Unseen(name, quantity, agreed[name], self._where(name))
            for name, shown in deviating.items()
            for quantity in self._declared(name).get("quantities", ())
            if shown and not any(fnmatchcase(each, quantity) for each in shown)
            if any(fnmatchcase(each, quantity) for each in compared[name])
        ]
        return (*whole, *parts)

    def _declared(self, divergence: str) -> dict[str, Any]:
        told: dict[str, Any] = self.run.header.extra.get("divergences", {}).get(divergence, {})
        return told

    def _where(self, divergence: str) -> str:
        return str(self._declared(divergence).get("where", ""))

    @cached_property
    def tolerated(self) -> int:
        """How many records hold a figure that an explicit tolerance of a case file decided, not the model."""
        return sum(any(f.source.startswith("tolerance") for f in record.figures) for record in self.run.records)

    @cached_property
    def noted(self) -> tuple[Record, ...]:
        """Passes with something to tell: a crash that did not repeat."""
        return tuple(record for record in self.run.records if record.verdict == "pass" and record.detail)

    @cached_property
    def known(self) -> tuple[KnownGroup, ...]:
        """Known divergences, by id, the most frequent first."""
        groups: dict[str, list[Record]] = {}
        for record in self.run.records:
            if record.verdict == "known":
                groups.setdefault(record.divergence, []).append(record)
        return tuple(
            sorted((self._known_group(name, records) for name, records in groups.items()), key=lambda g: -g.count)
        )

    def _known_group(self, name: str, records: list[Record]) -> KnownGroup:
        told = self._declared(name.partition(",")[0])
        sizes: dict[str, list[float]] = {}
        for figure in (figure for record in records for figure in record.figures if not figure.ok):
            if figure.relative is not None:
                sizes.setdefault(figure.quantity, []).append(figure.relative)
        return KnownGroup(
            divergence=name,
            why=told.get("why", records[0].reason),
            see=told.get("see", ""),
            where=told.get("where", ""),
            backends=tuple(Counter(record.backend for record in records).items()),
            sizes=tuple((quantity, min(seen), max(seen)) for quantity, seen in sizes.items()),
            example=records[0].id,
        )

    def _by_reason(self, verdict: Verdict) -> tuple[ReasonGroup, ...]:
        groups: dict[tuple[str, str], list[Record]] = {}
        for record in self.run.records:
            if record.verdict == verdict:
                groups.setdefault((record.backend, _NUMBERED.sub("", record.reason)), []).append(record)
        made = (
            ReasonGroup(backend, records[0].reason, len(records), records[0].id)
            for (backend, _), records in groups.items()
        )
        return tuple(sorted(made, key=lambda group: (-group.count, group.backend, group.reason)))

    @cached_property
    def unsupported(self) -> tuple[ReasonGroup, ...]:
        """Why backends could not run cases, the most frequent reason first."""
        return self._by_reason("unsupported")

    @cached_property
    def missing(self) -> tuple[ReasonGroup, ...]:
        """Which backends are not here, and why."""
        return self._by_reason("missing")

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What the failures of each op and backend have in common, where the run came to its end."""
        return self.run.footer.causes if self.run.footer is not None else ()

    @property
    def exit_code(self) -> int:
        """0 ok, 1 failures, 2 interrupted, 5 when every record is missing and so nothing was checked."""
        if self.run.footer is None:
            return INTERRUPTED
        if self.failures:
            return FAILURES
        return NOTHING if set(self.counts) <= {"missing"} else OK


def _worst_budget(records: Iterable[Record]) -> float | None:
    budgets = (figure.budget for record in records for figure in bad_figures(record)[:1])
    return max((budget for budget in budgets if budget is not None), default=None)


def bad_figures(record: Record) -> tuple[Figure, ...]:
    """The figures over their allowance, worst first."""
    return tuple(figure for figure in record.figures if not figure.ok)


def many(count: int, noun: str) -> str:
    """``1 case``, ``1,204 cases``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def in_words(counts: Iterable[tuple[str, int]]) -> str:
    """Counts as people read them: ``4,611 pass  69 known``."""
    return "  ".join(f"{count:,} {name}" for name, count in counts)
