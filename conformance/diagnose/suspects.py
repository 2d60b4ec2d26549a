"""What one failing case says about its cause; computed where the arrays are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import prod

from conformance.diagnose.facts import facts_of
from conformance.diagnose.inferred import ONE_PASS, one_pass
from conformance.diagnose.known import KNOWN
from conformance.diagnose.replica import Made, Replica
from conformance.diagnose.search import Clock, Found, search
from conformance.diagnose.structure import structural
from conformance.judge import Expectation
from conformance.judge.verdict import figures_of
from conformance.observation import Observation
from conformance.ops import OPS
from conformance.record import Explanation, Figure, Suspicion
from conformance.suite.case import Case
from references.mistakes import Mistake
from references.mistakes.catalogue import HALF
from references.rounding import Class

#: CPU seconds for comparing a case with what explained others, when the time for searches is spent
COMPARING = 0.1
#: CPU seconds for one case, and elements beyond which it is only compared with what explains smaller ones
SECONDS = 1.5
ELEMENTS = 60_000

#: Data on which a search for many mistakes at once pays.
PLAIN = frozenset({"normal", "scaled", "f1-eps", "f2-small-n", "f4-tail", "f5-slices", "f12-buffers", "shifted-1e1"})

#: Found in no reference: the errors are those of a coarser class of precision.  Format of the input -> class, mistake.
COARSER: dict[str, tuple[Class, str]] = {
    "bfloat16": ("B", "computed-in-storage-format"),
    "float16": ("B", "computed-in-storage-format"),
    "float64": ("float32", "computed-in-float32"),
}
COARSER_SAYS = {
    "computed-in-storage-format": "every error is within what rounding each intermediate to the storage format allows",
    "computed-in-float32": "every error is within what arithmetic in float32 allows",
}


def candidates(case: Case) -> list[Mistake]:
    """The named mistakes that can be made in the op of a case, in its dtype."""
    family = OPS[case.op].family
    return [m for m in KNOWN.values() if family in m.families and case.dtype in m.dtypes]


def suspects(
    case: Case,
    expectation: Expectation,
    observation: Observation,
    observes: tuple[str, ...] = (),
    figures: Sequence[Figure] = (),
    *,
    seconds: float = SECONDS,
    before: Sequence[Made] = (),
    only_before: bool = False,
    elements: int | None = None,
) -> Suspicion | None:
    """Which named mistakes reproduce a failing observation, and what is so about its errors.

    before: sets of mistakes that explained other cases, tried first.  only_before: and nothing else is.
    elements: larger cases are not even compared with those.
    Returns None where there is nothing to say.
    """
    faults = structural(case, observation, figures)
    values = any(not figure.ok and figure.source != "structure" for figure in figures)
    if not values or case.raises is not None or OPS[case.op].judged == "network":
        return Suspicion(faults=faults) if faults else None
    replica = Replica(case, expectation, observation, observes)
    wrong = replica.size(replica.over)
    facts = facts_of(replica)
    size = prod(case.shape) * len(case.steps)
    if elements is not None and size > elements:
        rounded = _in_coarser(replica, expectation, observes) if case.dtype in HALF else ()
        limit = "" if rounded else f"cases of more than {elements:,} values are not searched"
        return Suspicion(rounded, wrong, faults, facts=facts, limit=limit)
    large = size > ELEMENTS
    clock = Clock(seconds)
    tried = [] if only_before or large else candidates(case)
    # where intermediates are rounded, or the data is made to be nasty, many mistakes at once cannot be told apart
    plain = case.dtype not in HALF and case.data in PLAIN
    explained = _explanations(replica, search(replica, tried, clock, before, one_alone=not plain))
    if all(each.left for each in explained) and not only_before and (lost := one_pass(replica)):
        explained = _lost_digits(replica, lost) or explained
    if case.dtype in COARSER:
        explained = _with_coarser(explained, replica, expectation, observes, (tried, clock, before))
    limit = ""
    if not any(not each.left for each in explained):
        limit = _limit(large=large, only_before=only_before, clock=clock)
    return Suspicion(explained, wrong, faults, bool(tried), facts, limit)


def _lost_digits(replica: Replica, made: Made) -> tuple[Explanation, ...]:
    """The one-pass variance, where everything follows from the variances that the outputs show."""
    if not replica.wrong or not replica.explains(made, replica.places):
        return ()
    return (Explanation((ONE_PASS,), replica.size(replica.over)),)


def _limit(*, large: bool, only_before: bool, clock: Clock) -> str:
    """What kept a search from going to its end."""
    if large:
        return f"cases of more than {ELEMENTS:,} values are only compared with what explains smaller ones"
    if only_before:
        return "enough failing cases were searched before"
    return f"the search of one case ended after {clock.seconds:.2g} s" if clock.cut else ""


def _explanations(replica: Replica, found: Sequence[Found]) -> tuple[Explanation, ...]:
    return tuple(
        Explanation(
            tuple(mistake.id for mistake in each.mistakes),
            replica.size(place for place in replica.over if place in replica.reproduced(each.mistakes)),
            tuple(sorted({place.quantity for place in each.left})),
        )
        for each in found
    )


def _in_coarser(replica: Replica, expectation: Expectation, observes: tuple[str, ...]) -> tuple[Explanation, ...]:
    """That everything is right in the coarser class of precision, where it is."""
    label, name = COARSER[replica.case.dtype]
    again = figures_of(replica.case, expectation, replica.observation, observes, label)
    right = all(figure.ok or figure.source == "structure" for figure in again)
    return (Explanation((name,), replica.size(replica.over)),) if right else ()


def _with_coarser(
    explained: tuple[Explanation, ...],
    replica: Replica,
    expectation: Expectation,
    observes: tuple[str, ...],
    how: tuple[Sequence[Mistake], Clock, Sequence[Made]],
) -> tuple[Explanation, ...]:
    """The explanations, and that of a coarser class of precision: right in it, or with mistakes that explain all."""
    label, name = COARSER[replica.case.dtype]
    rounded = _in_coarser(replica, expectation, observes)
    if rounded:
        return (*(each for each in explained if not each.left), *rounded)
    if how[1].out() or not all(each.left for each in explained):
        return explained
    coarse = Replica(replica.case, expectation, replica.observation, observes, label)
    found = _explanations(coarse, search(coarse, *how, one_alone=True))
    size = replica.size(replica.over)
    return tuple(Explanation((*each.mistakes, name), size) for each in found if not each.left) or explained


class Searches:
    """The searches of one process: what explained a case is tried first on the next, and they end when enough is spent.

    seconds: of CPU time, for the failing cases of one op on one backend.  elements: larger cases are left alone.
    """

    def __init__(self, seconds: float = 6.0, elements: int | None = None) -> None:
        self._seconds = seconds
        self._elements = elements
        self._spent: dict[tuple[str, str], float] = {}
        self._explained: dict[tuple[str, str], list[Made]] = {}

    def __call__(
        self,
        case: Case,
        expectation: Expectation,
        observation: Observation,
        observes: tuple[str, ...],
        figures: Sequence[Figure],
        backend: str = "",
    ) -> Suspicion | None:
        key = case.op, backend
        before = self._explained.setdefault(key, [])
        left = self._seconds - self._spent.get(key, 0.0)
        started = time.process_time()
        found = suspects(
            case, expectation, observation, observes, figures,
            seconds=max(COMPARING, min(SECONDS, left)), before=before, only_before=left <= 0, elements=self._elements,
        )  # fmt: skip
        self._spent[key] = self._spent.get(key, 0.0) + time.process_time() - started
        for explanation in found.explanations if found is not None else ():
            made = tuple(KNOWN[name] for name in explanation.mistakes if name in KNOWN)
            if made and made not in before and not explanation.left:
                before.append(made)
        return found
