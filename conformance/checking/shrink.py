"""The smallest case that still fails alike: plain settings first, then few and small sizes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import msgspec

from conformance.checking.remarks import decisive
from conformance.checking.trials import TRIAL, Trials
from conformance.ops import OPS
from conformance.ops.derived import derived_arguments
from conformance.record import Figure, Record
from conformance.suite.case import Case, Dtype, Export
from conformance.suite.identity import key_of_case

SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 31, 32, 33, 64, 65, 128, 129)
HANDFUL = 8  # cases that are tried before it is asked whether one of them fails
Proposals = Callable[[Case], Iterator[Case]]


@dataclass(frozen=True, slots=True)
class Symptom:
    """How a case fails: the verdict, and the quantity, or the exception, that it shows in.

    nan: the quantity is no number where it should be one, or the other way round.
    """

    verdict: str
    sign: str
    nan: bool = False

    def shown_by(self, record: Record) -> bool:
        """Whether a record shows it."""
        if record.verdict != self.verdict:
            return False
        if self.verdict == "fail":
            return any(f.quantity == self.sign and _nan(f) == self.nan for f in decisive(record.figures))
        return sign_of(record) == self.sign


def symptom_of(record: Record) -> Symptom:
    """The symptom of a bad record: of several quantities the first in time, then on the way of the data."""
    sign = sign_of(record)
    nan = any(_nan(figure) for figure in decisive(record.figures) if figure.quantity == sign)
    return Symptom(record.verdict, sign, nan)


def _nan(figure: Figure) -> bool:
    return figure.budget is None and "nan" in (figure.got, figure.expected)


def sign_of(record: Record) -> str:
    """The quantity in which a failure is seen first; the class of an exception; how a process died."""
    bad = decisive(record.figures)
    if record.verdict == "fail" and bad:
        return min(bad, key=lambda figure: (_first_step(figure), _upstream(figure.quantity))).quantity
    return _STEP.sub("", record.reason.partition(":")[0])


_STEP = re.compile(r" in step \d+$")


def _first_step(figure: Figure) -> int:
    """The first step in which the quantity is over its allowance; the figure itself is of the worst."""
    over = (number for number, budget in enumerate(figure.budgets) if budget is not None and budget > 1)
    return min(figure.step, next(over, figure.step))


_ORDER = ("shape", "dtype", "input_modified", "output", "buffer.", "grad_input", "grad.", "param.", "momentum.")


def _upstream(quantity: str) -> tuple[int, str]:
    place = next((place for place, start in enumerate(_ORDER) if quantity.startswith(start)), len(_ORDER))
    return place, quantity


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest failing case that was found, its record, and whether time ran out before nothing smaller failed."""

    case: Case
    record: Record
    tried: int
    hurried: bool


def shrink(case: Case, record: Record, trials: Trials, candidate: str, judge: str, *, seconds: float) -> Shrunk:
    """Greedy descent from a failing case.

    A smaller case counts where the candidate shows the same symptom and ``judge``, the backend of torch itself, can run
    it without an exception: that is what keeps cases valid for the op.
    """
    symptom = symptom_of(record)
    deadline = time.monotonic() + seconds
    tried, changed = 0, True
    while changed:
        changed = False
        for proposals in PASSES:
            again = True
            while again:
                again = False
                if time.monotonic() > deadline:
                    return Shrunk(case, record, tried, hurried=True)
                for batch in _handfuls(case, proposals):
                    tried += len(batch)
                    for smaller, records in zip(batch, trials.run(batch), strict=True):
                        if symptom.shown_by(records[candidate]) and records[judge].verdict in ("pass", "fail", "known"):
                            case, record = smaller, records[candidate]
                            changed = again = True
                            break
                    if again:
                        break
    return Shrunk(case, record, tried, hurried=False)


def plainness(case: Case) -> tuple[int, int, int]:
    """A key that puts plain and small cases first: where to start from."""
    defaults = OPS[case.op].defaults()
    derived = derived_arguments(case.op)
    odd = sum(value != defaults[name] for name, value in case.args.items() if name not in derived)
    odd += sum(
        (
            case.dtype != "float32", case.layout != "contiguous", case.grad_layout != "contiguous",
            case.data != "normal", case.params != "random", case.buffers != "random", case.optimizer is not None,
        )
    )  # fmt: skip
    return len(case.steps), odd, prod(case.shape)


def _handfuls(case: Case, proposals: Proposals) -> Iterator[list[Case]]:
    """The simpler cases that a pass proposes, each once, a few at a time: the first of them often do."""
    distinct = list({smaller.key: smaller for smaller in proposals(case) if smaller.key != case.key}.values())
    for start in range(0, len(distinct), HANDFUL):
        yield distinct[start : start + HANDFUL]


# ---- passes: each proposes simpler cases, the most wished for first --------------------------------------------------


def _with(case: Case, **fields: Any) -> Case:
    changed = msgspec.structs.replace(case, **fields)
    key = key_of_case(changed)
    return msgspec.structs.replace(
        changed, key=key, id=f"check::{key}", about="", group=TRIAL, marks=(), divergences=(),
        robustness=case.robustness,
    )  # fmt: skip


def _fewer_steps(case: Case) -> Iterator[Case]:
    plain = {"resets": (), "optimizer": None}
    if case.optimizer is not None or case.resets:
        yield _with(case, **plain)
    for mode in ("train", "eval"):
        if mode in case.steps and len(case.steps) > 1:
            yield _with(case, steps=(mode,), **plain)
    for end in range(1, len(case.steps)):
        yield _with(case, steps=case.steps[:end], **plain)
    for gone in range(len(case.steps)):
        if len(case.steps) > 1:
            yield _with(case, steps=case.steps[:gone] + case.steps[gone + 1 :], **plain)


def _plain_dtype(case: Case) -> Iterator[Case]:
    plain: Dtype = "float32"
    if case.dtype != plain or case.param_dtype != plain:
        yield _with(case, dtype=plain, param_dtype=plain)
        yield _with(case, dtype=case.dtype, param_dtype=case.dtype)


def _plain_layout(case: Case) -> Iterator[Case]:
    yield _with(case, layout="contiguous", grad_layout="contiguous")
    yield _with(case, grad_layout="contiguous")
    yield _with(case, layout="contiguous")


def _plain_data(case: Case) -> Iterator[Case]:
    usual = {
        "data": "normal",
        "params": "random",
        "buffers": "random",
        "seed": 0,
        "requires_grad": True,
        "export": Export(),
    }
    yield _with(case, **usual, tolerance={})
    for name, value in usual.items():
        yield _with(case, **{name: value})
    if case.data not in ("normal", "scaled"):
        yield _with(case, data="scaled")


def _plain_arguments(case: Case) -> Iterator[Case]:
    defaults, derived = OPS[case.op].defaults(), derived_arguments(case.op)
    odd = {name: defaults[name] for name in case.args if name not in derived and case.args[name] != defaults[name]}
    changes = [odd, *({name: value} for name, value in odd.items())]
    for change in changes if odd else ():
        yield from _completed(case, case.shape, change)


def _smaller_shape(case: Case) -> Iterator[Case]:
    """Every axis at its smallest, then one axis at a time; then one axis fewer, where the op takes that."""
    shapes = [case.shape[:axis] + case.shape[axis + 1 :] for axis in range(len(case.shape))]
    shapes = [shape for shape in shapes if len(shape) in OPS[case.op].ranks]
    shapes += [tuple(min(size, length) for length in case.shape) for size in (1, 2, 3)]
    axes = list(enumerate(case.shape))
    shapes += [_resized(case, axis, size) for size in SIZES for axis, length in axes if size < length]
    for axis, length in axes:
        large = sorted({length // 2, length - length // 4, length - 2, length - 1})
        shapes += [_resized(case, axis, size) for size in large if max(SIZES) < size < length]
    for shape in shapes:
        yield from _completed(case, shape, {})


def _resized(case: Case, axis: int, size: int) -> tuple[int, ...]:
    return (*case.shape[:axis], size, *case.shape[axis + 1 :])


def _completed(case: Case, shape: tuple[int, ...], change: dict[str, Any]) -> Iterator[Case]:
    """The case with another shape and arguments, where the op can complete them."""
    raw = {**case.args, **change}
    for argument in OPS[case.op].arguments:
        value = raw[argument.name]
        if argument.name not in derived_arguments(case.op):
            continue
        raw[argument.name] = None
        if isinstance(argument.default, dict):  # the last axes, as many as now
            raw[argument.name] = {"last": min(len(value) if isinstance(value, list) else 1, len(shape))}
    with suppress(Exception):  # an op that cannot complete them says so in its own way; then it is no case
        yield _with(case, shape=shape, args=OPS[case.op].complete(raw, shape))


PASSES: Sequence[Proposals] = (
    _fewer_steps, _plain_dtype, _plain_layout, _plain_data, _plain_arguments, _smaller_shape,
)  # fmt: skip
