"""The power lint: could the suite see a mistake at all?

Every named mistake is evaluated beside the right reference on the cases of the suite, both in higher precision, and
compared with what the judge allows.  A mistake whose largest error / allowance stays below 10 for some op and dtype
would hide behind rounding there: the suite needs better data, or the mistake cannot be seen there and says why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import prod
from multiprocessing import get_context

import numpy as np

from conformance.inputs import Inputs, make_inputs
from conformance.judge.allowance import allowance
from conformance.judge.expectation import Expectation
from conformance.ops import OPS
from conformance.reference import build_reference, reference_class
from conformance.suite.case import Case
from references.expected import Expected, Quantity, run
from references.mistakes import MISTAKES, Mistake, mistaken

ENOUGH = 10.0
#: Cases of more elements than this are not needed to show a mistake, and would take most of the time.
_ELEMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Power:
    """How well the suite shows one mistake in one op and dtype; ``unseen`` says why nothing can, where nothing can."""

    op: str
    dtype: str
    mistake: str
    ratio: float
    case: str
    quantity: str
    unseen: str | None

    @property
    def seen(self) -> bool:
        return self.ratio >= ENOUGH

    @property
    def ok(self) -> bool:
        """Seen, or said to be unseen; a reason that no longer holds is as wrong as a mistake that nothing shows."""
        return self.seen == (self.unseen is None)


def usable(case: Case) -> bool:
    """Whether a case can show a mistake in its values."""
    fits = 0 < prod(case.shape) * len(case.steps) <= _ELEMENTS
    return fits and case.raises is None and case.dtype != "int64" and "slow" not in case.marks


def lint(cases: Iterable[Case], *, exhaustive: bool = False, workers: int = 1) -> Iterator[list[Power]]:
    """The power of the suite, one list per op and dtype.

    Unless ``exhaustive``, a mistake is not evaluated again once a case has shown it, and ratios are lower bounds.
    """
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        if usable(case):
            groups[case.op, case.dtype].append(case)
    work = [(group, exhaustive) for group in groups.values()]
    if workers <= 1:
        yield from map(_power_of, work)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(_power_of, work)


def _power_of(work: tuple[Sequence[Case], bool]) -> list[Power]:
    cases, exhaustive = work
    op, dtype = cases[0].op, cases[0].dtype
    family = OPS[op].family
    best = {m: (0.0, "", "") for m in MISTAKES.values() if family in m.families and dtype in m.dtypes}
    for case in _designed_first(cases):
        open_ones = [m for m, (ratio, _, _) in best.items() if exhaustive or ratio < ENOUGH]
        if not open_ones:
            break
        inputs = make_inputs(case)
        expectation = Expectation(case, inputs)
        for mistake in open_ones:
            ratio, quantity = visibility(case, expectation, inputs, mistake)
            if ratio > best[mistake][0]:
                best[mistake] = (ratio, case.id, quantity)
    return [Power(op, dtype, m.id, *found, m.unseen_in(family, dtype)) for m, found in best.items()]


def _designed_first(cases: Sequence[Case]) -> list[Case]:
    """The families F1 to F12 before the rest, since they were made to show mistakes."""
    return sorted(cases, key=lambda case: not case.data.startswith("f"))


def visibility(case: Case, expectation: Expectation, inputs: Inputs, mistake: Mistake) -> tuple[float, str]:
    """The largest |wrong - right| / allowed over all steps and quantities of a case, and the quantity that has it."""
    wrong = run(
        build_reference(case, of=mistaken(reference_class(case.op), mistake)),
        [(step.x, step.grad_output) for step in inputs.steps],
        inputs.params,
        inputs.buffers,
        case.steps,
    )
    worst: dict[str, float] = defaultdict(float)
    for right_step, wrong_step in zip(expectation.steps(), wrong, strict=True):
        for name, ratio in _ratios(right_step, wrong_step).items():
            if expectation.wanted(name):
                worst[name] = max(worst[name], ratio)
    quantity = max(worst, key=lambda name: worst[name])
    return worst[quantity], quantity


def _ratios(right: Expected, wrong: Expected) -> Mapping[str, float]:
    return {name: _ratio(right.quantities[name], wrong.quantities[name]) for name in right.quantities}


def _ratio(right: Quantity, wrong: Quantity) -> float:
    if right.stored == "int64":
        return float("inf") if (right.value != wrong.value).any() else 0.0
    with np.errstate(all="ignore"):
        allowed = allowance(right, "A").allowed
        promised = np.isfinite(allowed) & np.isfinite(right.value)
        if not promised.any():
            return 0.0
        difference = np.abs(wrong.value - right.value)[promised]
        ratio = np.where(np.isnan(difference), np.inf, difference / allowed[promised])
        return float(ratio.max())
