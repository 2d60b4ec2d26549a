"""From what single cases say to what they have in common, and what the cases that pass have against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conformance.diagnose.against import Witnesses
from conformance.diagnose.commonality import facts_in_common
from conformance.diagnose.known import KNOWN
from conformance.diagnose.structure import STRUCTURAL
from conformance.diagnose.suspects import COARSER_SAYS
from conformance.record import BAD, Cause, Explanation, Record, Suspicion
from conformance.report.causes import lines_of
from conformance.suite.case import Case
from references.mistakes.catalogue import HALF

#: CPU seconds that may be spent on asking the cases that pass, for one op on one backend
SECONDS = 5.0

Set = frozenset[str]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The causes of a run's failures, one entry for each op and backend that has some."""

    causes: tuple[Cause, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """As people read it."""
        return tuple(line for cause in self.causes for line in lines_of(cause))

    def __str__(self) -> str:
        return "\n".join(self.lines)


def diagnose(records: Iterable[Record], cases: Iterable[Case], *, seconds: float = SECONDS) -> Diagnosis:
    """What the failing records have in common, op by op and backend by backend.

    cases: those of the records, by which the records that pass are asked what speaks against a mistake.
    """
    by_key = {case.key: case for case in cases}
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.op, record.backend), []).append(record)
    return Diagnosis(tuple(
        _cause(op, backend, group, by_key, seconds)
        for (op, backend), group in groups.items()
        if any(record.verdict in BAD and record.suspicion is not None for record in group)
    ))  # fmt: skip


def says(name: str) -> str:
    """The sentence of a named mistake."""
    if name in KNOWN:
        return KNOWN[name].says
    return STRUCTURAL.get(name) or COARSER_SAYS.get(name, "")


def _cause(op: str, backend: str, group: Sequence[Record], cases: Mapping[str, Case], seconds: float) -> Cause:
    failing = [record for record in group if record.verdict in BAD]
    told = [(record, record.suspicion) for record in failing if record.suspicion is not None]
    passing = [cases[r.key] for r in group if r.verdict == "pass" and r.key in cases]
    named, against = _named(told, cases, Witnesses(passing, seconds))
    explained = _by_all(told, named)
    coarser, beyond = _by_precision(told, passing)
    if coarser and _count(_by_all(told, coarser)) > _count(explained):  # what explains more cases goes first
        named, against, explained = coarser, beyond, _by_all(told, coarser)
    open_ones = [
        record for (record, suspicion), each in zip(told, explained, strict=True) if not _whole(suspicion, each)
    ]
    faults = {name for _, suspicion in told for name in suspicion.faults}
    entries = (*named, *((name,) for name in STRUCTURAL if name in faults))
    return Cause(
        op=op,
        backend=backend,
        mistakes=entries,
        says={name: says(name) for entry in entries for name in entry},
        cases=len(told) - len(open_ones),
        failing=len(failing),
        values=sum(each.values for each in explained if each is not None),
        wrong=sum(suspicion.values for _, suspicion in told),
        facts=(*against, *(facts_in_common(open_ones, group, cases, alone=not entries) if open_ones else ())),
        limits=tuple(dict.fromkeys(suspicion.limit for _, suspicion in told if suspicion.limit)),
    )


def _whole(suspicion: Suspicion, explanation: Explanation | None) -> bool:
    """Whether nothing of a case is left unexplained."""
    if suspicion.values and (explanation is None or explanation.left):
        return False
    return bool(suspicion.values or suspicion.faults)


def _by(suspicion: Suspicion, members: set[str]) -> Explanation | None:
    """The explanation of a case that the named mistakes give, in whatever precision."""
    fitting = [each for each in suspicion.explanations if _mistakes(each) <= members and (members or not each.mistakes)]
    return max(fitting, key=lambda each: (not each.left, each.values), default=None)


def _mistakes(explanation: Explanation) -> Set:
    """The mistakes of an explanation, without the class of precision in which it holds."""
    names = frozenset(explanation.mistakes)
    return names - COARSER_SAYS.keys() or names


def _by_all(told: Sequence[tuple[Record, Suspicion]], named: Sequence[tuple[str, ...]]) -> list[Explanation | None]:
    """What the named mistakes explain of each case."""
    members = {name for entry in named for name in entry}
    return [_by(suspicion, members) for _, suspicion in told]


def _count(explained: Sequence[Explanation | None]) -> int:
    return sum(each is not None for each in explained)


def _by_precision(
    told: Sequence[tuple[Record, Suspicion]], passing: Sequence[Case]
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """A class of precision that every failing case is in, where other dtypes pass, and what there is to say to that.

    What is computed in float16 leaves its range now and then: such cases are beyond what rounding explains, and must be
    few, and show it.
    """
    of_values = [(record, suspicion) for record, suspicion in told if suspicion.values]
    dtypes = {record.dtype for record, _ in of_values}
    if not of_values or all(case.dtype in dtypes for case in passing):
        return (), ()
    for name in COARSER_SAYS:
        beyond = [record for record, suspicion in of_values if not _is_in(name, suspicion)]
        if not beyond:
            return ((name,),), ()
        if 4 * len(beyond) <= len(of_values) and all(map(_left_the_range, beyond)):
            cases = (
                "1 case of float16 values leave" if len(beyond) == 1 else f"{len(beyond)} cases of float16 values leave"
            )
            return ((name,),), (f"in {cases} the range of the format, so that there are infinities, NaN or zeros",)
    return (), ()


def _left_the_range(record: Record) -> bool:
    """Whether a case of float16 shows what comes of overflow and underflow."""
    return record.dtype == "float16" and any(
        not figure.ok and figure.got.lstrip("-") in ("inf", "nan", "0") for figure in record.figures
    )


def _is_in(name: str, suspicion: Suspicion) -> bool:
    """Whether a case is right in a class of precision; what was not searched does not say otherwise."""
    return not suspicion.searched or any(each.mistakes == (name,) for each in suspicion.explanations)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """A failing case, and the sets of mistakes that explain it equally well."""

    record: Record
    sets: tuple[Set, ...]


def _evidence(told: Sequence[tuple[Record, Suspicion]]) -> list[list[_Evidence]]:
    """The cases by what they say, most first: wholly explained in the full precision, in a coarser one, in part."""
    ranked: list[list[_Evidence]] = [[], [], []]
    for record, suspicion in told:
        ranks: dict[int, list[Set]] = {}
        for each in suspicion.explanations:
            names = frozenset(each.mistakes)
            if not names <= COARSER_SAYS.keys():
                rank = 2 if each.left else int(bool(names & COARSER_SAYS.keys()))
                ranks.setdefault(rank, []).append(_mistakes(each))
        if ranks:
            ranked[min(ranks)].append(_Evidence(record, tuple(ranks[min(ranks)])))
    return ranked


def _weighed(told: Sequence[tuple[Record, Suspicion]]) -> list[_Evidence]:
    """The evidence that counts: the best there is, and lesser one on cases that the best leaves unexplained.

    Lesser evidence counts only where it says the same of more cases than there are of better.
    """
    kept: list[_Evidence] = []
    for rank in _evidence(told):
        known = frozenset().union(*_chosen([each.sets for each in kept]))
        fresh = [each for each in rank if not any(one <= known for one in each.sets)]
        if len(fresh) > 2 * len(kept):
            kept += fresh
    return kept


def _alone(name: str, made: Sequence[str]) -> bool:
    return set(made) - COARSER_SAYS.keys() == {name}


def _borne_out(name: str, told: Sequence[tuple[Record, Suspicion]]) -> bool:
    """Whether it is no coincidence.

    A few bits of half precision agree by chance, the many of float32 do not; and what is only ever seen beside another
    mistake, in one case of many, is how that case happens to round.
    """
    searched = [(record, suspicion) for record, suspicion in told if suspicion.searched]
    sets = [(record, each.mistakes) for record, s in searched for each in s.explanations if name in each.mistakes]
    with_it = list({record.key: record for record, _ in sets}.values())
    alone = any(_alone(name, made) for _, made in sets)
    if not alone and len(with_it) < 3 <= len(searched) // 10:
        return False
    return any(record.dtype not in HALF for record in with_it) or 4 * len(with_it) >= len(searched)


def _named(
    told: Sequence[tuple[Record, Suspicion]], cases: Mapping[str, Case], witnesses: Witnesses
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The mistakes that explain the failing cases, each with those that cannot be told from it, and what is against."""
    evidence = _weighed(told)
    alternatives = [each.sets for each in evidence]
    chosen = _chosen(alternatives)
    explained = [
        (cases[each.record.key], one) for each, one in zip(evidence, chosen, strict=True) if each.record.key in cases
    ]
    entries: list[tuple[str, ...]] = []
    against: list[str] = []
    for name in dict.fromkeys(name for one in chosen for name in sorted(one)):
        if not _borne_out(name, told):
            continue
        kept = []
        for each in (name, *_same_as(name, chosen, alternatives)):
            witness = witnesses.against(each, [pair for pair in explained if not pair[1] & {name, each}])
            if witness is None:
                kept.append(each)
            elif (count := sum(name in one for one in chosen)) >= max(2, len(chosen) // 10):
                against.append(
                    f"in {count} of the cases the values are those of {each} ({says(each)}), "
                    f"but {witness}, where that would show"
                )
        if kept:
            entries.append(tuple(kept))
    return tuple(entries), tuple(against)


def _chosen(alternatives: Sequence[Sequence[Set]]) -> list[Set]:
    """One explanation for each case, so that few mistakes explain all of them."""
    support = Counter(name for sets in alternatives for name in frozenset().union(*sets))
    together: set[str] = set()
    chosen: dict[int, Set] = {}
    for place in sorted(range(len(alternatives)), key=lambda place: len(alternatives[place])):
        best = min(
            alternatives[place],
            key=lambda one: (len(one - together), -sum(support[name] for name in one) / len(one), sorted(one)),
        )
        together |= best
        chosen[place] = best
    # an early choice may have become needless: try again with everything known
    needed = [
        min(sets, key=lambda one: (not one <= together, -sum(support[name] for name in one) / len(one), sorted(one)))
        for sets in alternatives
    ]
    return needed if len(frozenset().union(*needed)) <= len(together) else [chosen[p] for p in range(len(alternatives))]


def _same_as(name: str, chosen: Sequence[Set], alternatives: Sequence[Sequence[Set]]) -> tuple[str, ...]:
    """The mistakes that could stand in the place of this one in every case that it explains."""
    others: set[str] | None = None
    for one, sets in zip(chosen, alternatives, strict=True):
        if name not in one:
            continue
        rest = one - {name}
        here = {next(iter(other - rest)) for other in sets if rest <= other and len(other - rest) == 1} - {name}
        others = here if others is None else others & here
    return tuple(sorted(others or ()))
