"""The search for mistakes that together reproduce an observation.

One mistake that reproduces everything is looked for first.  Failing that, the search goes along the flow of the data:
the outputs in training, those in evaluation, the buffers, the gradients; each stage is explained by as few further
mistakes as possible, given those that explain the stages before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from conformance.diagnose.replica import Made, Place, Replica, way
from references.mistakes import Mistake

#: equally good ways that are followed further, and pairs of mistakes that are tried for one stage
_BEAM = 6
_PAIRS = 400


@dataclass(frozen=True, slots=True)
class Found:
    """Mistakes, the wrong quantities that they reproduce, and those that they do not."""

    mistakes: Made
    reproduced: frozenset[Place]
    left: frozenset[Place]


@dataclass(slots=True)
class Clock:
    """How long a search may go on, in CPU seconds; ``cut`` says that it ended before it was through."""

    seconds: float
    cut: bool = False
    started: float = field(default_factory=time.process_time)

    def out(self) -> bool:
        if time.process_time() - self.started > self.seconds:
            self.cut = True
        return self.cut


def search(
    replica: Replica,
    candidates: Sequence[Mistake],
    clock: Clock,
    before: Iterable[Made] = (),
    *,
    one_alone: bool = False,
) -> list[Found]:
    """The best explanations, all equally good; none where nothing is explained.

    before: sets of mistakes that explained other cases, to be tried first.
    one_alone: whether to end with mistakes that explain everything by themselves.
    """
    if not replica.wrong:
        return []
    again: list[Made] = []
    for made in sorted(before, key=len):
        if clock.out() or (again and len(made) > len(again[0])):
            break
        if replica.explains(made, replica.places) and minimal(replica, made) == made:
            again.append(made)
    if again:
        return [_found(replica, made) for made in again]
    alone = []
    for mistake in candidates:
        if clock.out():
            break
        if replica.explains((mistake,), replica.places):
            alone.append(_found(replica, (mistake,)))
    return alone if alone or one_alone else _staged(replica, candidates, clock)


def minimal(replica: Replica, made: Made) -> Made:
    """The mistakes without those that nothing in this case needs."""
    for mistake in made:
        rest = tuple(other for other in made if other is not mistake)
        if replica.explains(rest, replica.reproduced(made)):
            return minimal(replica, rest)
    return made


_WAYS = ("output", "buffer", "grad", "param", "momentum")


def stages(places: Sequence[Place], modes: Sequence[str]) -> list[tuple[Place, ...]]:
    """Quantities that are explained together, in the order in which data flows."""
    groups: dict[tuple[int, int, tuple[int, str], int], list[Place]] = {}
    for place in sorted(places):
        kind, evaluates = _WAYS.index(place.way), int(modes[place.step] == "eval")
        rank = (0, "") if kind == 0 else _rank(place.quantity)
        groups.setdefault((kind, evaluates if kind != 1 else 0, rank, evaluates), []).append(place)
    return [tuple(groups[group]) for group in sorted(groups)]


def _rank(quantity: str) -> tuple[int, str]:
    first = ("buffer.running_mean", "buffer.running_var", "grad_input")
    return (first.index(quantity) if quantity in first else len(first), quantity)


def _found(replica: Replica, made: Made) -> Found:
    reproduced = replica.reproduced(made)
    return Found(made, replica.wrong & reproduced, replica.wrong - reproduced)


def _staged(replica: Replica, candidates: Sequence[Mistake], clock: Clock) -> list[Found]:
    beam: list[Made] = [()]
    earlier: tuple[Place, ...] = ()
    for stage in stages(replica.places, replica.case.steps):
        ways: list[Made] = []
        for made in beam:
            if replica.explains(made, stage):
                ways.append(made)
            else:
                ways += _extended(replica, made, stage, earlier, candidates, clock) or [made]
        earlier += stage
        beam = _best(replica, ways, earlier)
    found = {frozenset(made): _found(replica, made) for made in (minimal(replica, made) for made in beam) if made}
    kept = [each for each in found.values() if each.reproduced and replica.reproduced(()) <= _all(replica, each)]
    if not kept:
        return []
    most = max(replica.size(each.reproduced) for each in kept)
    fewest = min(len(each.mistakes) for each in kept if replica.size(each.reproduced) == most)
    return [each for each in kept if replica.size(each.reproduced) == most and len(each.mistakes) == fewest]


def _all(replica: Replica, found: Found) -> frozenset[Place]:
    return replica.reproduced(found.mistakes)


def _best(replica: Replica, ways: Sequence[Made], upto: Sequence[Place]) -> list[Made]:
    """Those that explain most of the stages so far with the fewest mistakes, each set once."""
    once = {frozenset(made): made for made in reversed(ways)}
    explained = {made: replica.size(place for place in upto if replica.gives(made, place)) for made in once.values()}
    return sorted(once.values(), key=lambda made: (-explained[made], len(made)))[:_BEAM]


def _extended(
    replica: Replica, made: Made, stage: Sequence[Place], earlier: Sequence[Place], candidates: Sequence[Mistake],
    clock: Clock,
) -> list[Made]:  # fmt: skip
    """The smallest additions that explain a stage and keep what is explained."""
    kept = [place for place in earlier if replica.gives(made, place)]
    useful = [] if clock.out() else [m for m in candidates if m not in made and _touches(replica, m, made, stage)]

    def explain(additions: Iterable[Made]) -> list[Made]:
        ways = []
        for addition in additions:
            if clock.out():
                break
            longer = (*made, *addition)
            if replica.explains(longer, stage) and replica.explains(longer, kept):
                ways.append(longer)
        return ways

    alone = explain((mistake,) for mistake in useful)
    if alone or clock.out():
        return alone
    place = next(place for place in stage if not replica.gives(made, place))
    near = sorted(useful, key=lambda mistake: replica.misses((*made, mistake), place))
    pairs = sorted(combinations(range(len(near)), 2), key=sum)[:_PAIRS]
    return explain(_in_both_orders((near[one], near[other]) for one, other in pairs)) or explain(_triples(near))


def _touches(replica: Replica, mistake: Mistake, made: Made, stage: Sequence[Place]) -> bool:
    """Whether a mistake can be what is wrong in a stage: it is made there or before, and changes something."""
    kind = _WAYS.index(stage[0].way)
    if _WAYS.index(way(mistake)) > kind:
        return False
    return any(replica.changed((*made, mistake), place, made) for place in stage if not replica.gives(made, place))


def _in_both_orders(pairs: Iterable[Made]) -> Iterable[Made]:
    """Where two mistakes replace the same method, which is inside the other matters."""
    for pair in pairs:
        yield pair
        if set(pair[0].changes) & set(pair[1].changes):
            yield pair[::-1]


def _triples(useful: Sequence[Mistake]) -> Iterable[Made]:
    return combinations(useful[:8], 3)
