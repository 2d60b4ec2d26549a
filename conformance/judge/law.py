r"""Random layers, judged by their law: the mask is read off the output, and then a mask must look like a draw.

Given the mask, every value follows (references.dropout) and is compared like any other.  The mask itself is put to
tests whose distribution is known exactly: each is a number of agreements among independent pairs, or of kept units,
and so binomial.

================  =========================================================  =====================
``law.kept``      units kept                                                 Bin(n, 1 - p)
``law.neighbour`` of disjoint pairs of neighbours, how many share their fate Bin(n // 2, q)
``law.rows``      of disjoint pairs of batch rows, how many units agree      Bin(rows // 2 * c, q)
``law.fresh``     of disjoint pairs of calls, how many units agree           Bin(n, q)
================  =========================================================  =====================

with q = p^2 + (1 - p)^2.  A mask fails where its count lies outside the interval that a right one leaves, in both
tails together, with the probability ``ALPHA``.  ALPHA is the false-alarm probability of a whole run divided by the
number of tests in it; a test of the shipped cases keeps COMPARISONS above that number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from math import exp, lgamma, log, log1p

from conformance.inputs import Inputs
from conformance.observation import Array, Observation
from conformance.record import Figure
from conformance.reference import build_reference
from conformance.suite.case import Case
from references.dropout import Dropout
from references.expected import Expected
from references.rounding import Class

#: the probability that a run of all shipped cases raises any alarm on right implementations
FALSE_ALARM = 1e-9
#: more than the tests of masks in such a run
COMPARISONS = 10_000
ALPHA = FALSE_ALARM / COMPARISONS


@cache
def interval(n: int, q: float, alpha: float = ALPHA) -> tuple[int, int]:
    """The counts (lowest, highest) of Bin(n, q) that leave at most alpha / 2 beyond each of them.

    The tails are summed exactly, term by term from the far end, in double precision.
    """
    if q in (0.0, 1.0):
        return (0, 0) if q == 0.0 else (n, n)
    return _lowest(n, q, alpha / 2), n - _lowest(n, 1 - q, alpha / 2)


def _lowest(n: int, q: float, tail: float) -> int:
    """The smallest count whose lower tail, itself included, has more than ``tail``."""
    below = 0.0
    for count in range(n + 1):
        below += exp(
            lgamma(n + 1) - lgamma(count + 1) - lgamma(n - count + 1) + count * log(q) + (n - count) * log1p(-q)
        )
        if below > tail:
            return count
    return n


def steps_given(case: Case, inputs: Inputs, observation: Observation, label: Class) -> list[Expected]:
    """What is expected of each step, given the mask that its output shows."""
    reference = _reference(case, label)
    return [
        reference.given(given.x, given.grad_output, seen.arrays, mode)
        for given, mode, seen in zip(inputs.steps, case.steps, observation.steps, strict=True)
    ]


def mask_figures(case: Case, inputs: Inputs, observation: Observation) -> tuple[Figure, ...]:
    """One figure for every test of a mask."""
    reference = _reference(case, "A")
    if not 0 < reference.p < 1:
        return ()  # nothing is random
    agree = reference.p**2 + (1 - reference.p) ** 2
    figures: list[Figure] = []
    calls: list[tuple[int, Array, Array]] = []
    for step, (given, mode, seen) in enumerate(zip(inputs.steps, case.steps, observation.steps, strict=True)):
        if mode != "train" or seen.arrays["output"].shape != given.x.shape:
            continue
        kept, visible = reference.shown(given.x, seen.arrays)
        calls.append((step, kept, visible))
        figures.append(
            _counted("law.kept", step, "units kept", int(kept[visible].sum()), int(visible.sum()), 1 - reference.p)
        )
        for name, what, one, other in _pairs(kept, visible, reference.unit_axes(given.x.shape)):
            figures.append(_counted(name, step, what, int((one == other).sum()), one.size, agree))
    for (_, first, seen_first), (step, second, seen_second) in zip(calls[::2], calls[1::2], strict=False):
        both = seen_first & seen_second
        same = int((first[both] == second[both]).sum())
        figures.append(
            _counted("law.fresh", step, "units with the fate of the call before", same, int(both.sum()), agree)
        )
    return tuple(figures)


def _pairs(kept: Array, visible: Array, axes: int) -> Iterator[tuple[str, str, Array, Array]]:
    """(name, what is counted, fates, fates of the partners) of disjoint pairs that are both visible."""
    flat, seen = kept.reshape(-1), visible.reshape(-1)
    usable = seen[: flat.size // 2 * 2].reshape(-1, 2).all(axis=1)
    neighbours = flat[: flat.size // 2 * 2].reshape(-1, 2)[usable]
    yield "law.neighbours", "pairs of neighbours that share their fate", neighbours[:, 0], neighbours[:, 1]
    if axes > 1 and kept.shape[0] > 1:
        rows, row_seen = (a.reshape(a.shape[0], -1) for a in (kept, visible))
        last = rows.shape[0] // 2 * 2
        both = row_seen[0:last:2] & row_seen[1:last:2]
        yield "law.rows", "units with the fate of the row before", rows[0:last:2][both], rows[1:last:2][both]


def _counted(name: str, step: int, what: str, count: int, n: int, q: float) -> Figure:
    low, high = interval(int(n), q)
    return Figure(
        quantity=name,
        step=step,
        budget=None,
        got=f"{count} of {n} {what}",
        expected=f"{low} to {high}",
        size=int(n),
        source="law",
        ok=low <= count <= high,
    )


def _reference(case: Case, label: Class) -> Dropout:
    reference = build_reference(case, label)
    assert isinstance(reference, Dropout)
    return reference


def mask_tests(case: Case) -> int:
    """How many tests of masks the case makes on one backend."""
    trains: Sequence[str] = [mode for mode in case.steps if mode == "train"]
    return 3 * len(trains) + len(trains) // 2 if 0 < case.args["p"] < 1 else 0
