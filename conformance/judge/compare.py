"""Comparing one observed quantity with its expectation, element by element."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.judge.allowance import allowance, storage_rounding, ulp_at
from conformance.record import Figure
from conformance.suite.case import Tolerance
from references.expected import Expected, Quantity
from references.rounding import FORMATS, STORAGE

Array = NDArray[Any]

TOGETHER = 1 << 16  # elements; beyond, the arrays themselves take the time, not the calls


@dataclass(frozen=True, slots=True)
class Pair:
    """A quantity of one step and what a backend returned for it.  context: what is expected of the whole step."""

    quantity: str
    value: Quantity
    got: Array
    step: int
    context: Expected
    label: str
    tolerance: Tolerance | None = None


def compare(
    name: str, quantity: Quantity, got: Array, step: int, context: Expected, label: str, tolerance: Tolerance | None
) -> Figure:
    """The figure of one quantity in one step; ``budget`` is the worst error / allowed, 1.0 the limit."""
    (found,) = compare_all([Pair(name, quantity, np.asarray(got), step, context, label, tolerance)])
    return found if isinstance(found, Figure) else found.figure()


def compare_all(pairs: Sequence[Pair | Figure]) -> list[Figure | Compared]:
    """What ``compare`` says of each, with the arrays of many handled together; a figure stays what it is."""
    found: list[Any] = list(pairs)
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, pair in enumerate(pairs):
        if isinstance(pair, Figure):
            continue
        quantity, got = pair.value, pair.got
        if got.shape != quantity.value.shape:
            shapes = f"shape {list(got.shape)}", f"shape {list(quantity.value.shape)}"
            found[number] = _wrong(pair.quantity, pair.step, *shapes)
        elif got.dtype != STORAGE[quantity.stored]:
            found[number] = _wrong(pair.quantity, pair.step, f"dtype {got.dtype}", f"dtype {quantity.stored}")
        elif quantity.stored == "int64":
            found[number] = _exact(pair.quantity, quantity, got, pair.step)
        else:
            kind = quantity.stored, quantity.value.dtype, quantity.any_nonfinite, pair.label, pair.tolerance
            alike.setdefault(kind, []).append(number)
    with np.errstate(all="ignore"):
        for numbers in alike.values():
            for some in _bounded(numbers, [found[number].got.size for number in numbers]):
                flat, start = _Flat([found[number] for number in some]), 0
                for number in some:
                    found[number] = compared = Compared(found[number], flat, start)
                    start = compared.end
    return found


def _bounded(numbers: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Together as long as that saves time and costs no memory to speak of."""
    some: list[int] = []
    held = 0
    for number, size in zip(numbers, sizes, strict=True):
        if some and held + size > TOGETHER:
            yield some
            some, held = [], 0
        some.append(number)
        held += size
    yield some


def _wrong(name: str, step: int, got: str, expected: str) -> Figure:
    return Figure(quantity=name, step=step, budget=None, got=got, expected=expected, ok=False, source="structure")


def _exact(name: str, quantity: Quantity, got: Array, step: int) -> Figure:
    wrong = got != quantity.value
    where = tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else ()
    return Figure(
        quantity=name,
        step=step,
        budget=None,
        got=str(got[where]),
        expected=str(quantity.value[where]),
        index=where,
        exceeding=int(wrong.sum()),
        size=got.size,
        source="exact",
        ok=not wrong.any(),
    )


class _Flat:
    """Quantities of one format, one tolerance and one label, end to end: NumPy is called once for all of them.

    NaN must meet NaN.  A returned infinity counts as the largest number that rounds to a finite one, F, and so does
    everything beyond F in the reference: whether an overflow rounds up to infinity is decided by one rounding.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        first = pairs[0]
        self.stored = stored = FORMATS[first.value.stored]
        self.reference = _joined([pair.value.value for pair in pairs])
        scale = _joined([pair.value.scale for pair in pairs])
        self.got = got = _joined([pair.got for pair in pairs])
        largest = stored.max * (1 + stored.u)
        self.value = value = np.minimum(np.maximum(self.reference, -largest), largest)  # keeps NaN
        judged = Quantity(value, scale, first.value.stored)
        limit = allowance(judged, first.label, first.tolerance)
        self.source, allowed = limit.source, limit.allowed
        seen = got.astype(value.dtype)
        if np.isfinite(allowed + value + seen).all():  # as nearly always
            self.promised: Array | None = None
            self.allowed, self.error = allowed, np.abs(seen - value)
            self.ratio = self.error / allowed if first.tolerance is None else _over(self.error, allowed)
            return
        seen = np.where(np.isinf(seen), np.copysign(largest, seen), seen)
        nothing_promised = np.isposinf(scale)  # 0 / 0 in the reference of an undetermined slice is no expectation
        expects_nan = np.isnan(value) & ~nothing_promised
        self.promised = promised = ~np.isinf(allowed) & ~np.isnan(value)
        self.allowed = np.where(np.isnan(allowed), storage_rounding(value, stored), allowed)
        self.error = np.where(promised, np.abs(seen - value), 0)
        class_wrong = expects_nan & ~(np.isnan(got) | (first.value.any_nonfinite & np.isinf(got)))
        class_wrong |= promised & np.isnan(seen)
        self.ratio = np.where(class_wrong, np.inf, _over(self.error, self.allowed))

    def largest_error(self, part: slice) -> float:
        """Of the elements for which something is promised."""
        error = self.error[part]
        return float(error.max() if self.promised is None else np.nanmax(error))

    def largest_value(self, part: slice) -> float:
        """The size of the largest value for which something is promised, 0 where there is none."""
        value = self.value[part]
        promised = value if self.promised is None else value[self.promised[part]]
        return float(np.abs(promised).max()) if promised.size else 0.0


class Compared:
    """One quantity in one step, compared; its figure is drawn up when somebody asks for it.

    quantity, ok, budget: as in the figure.
    """

    quantity: str
    ok: bool
    budget: float | None

    def __init__(self, pair: Pair, flat: _Flat, start: int) -> None:
        self._pair = pair
        self._flat = flat
        self.quantity, self.end = pair.quantity, start + pair.got.size
        self._part = part = slice(start, self.end)
        self.ok, self.budget = True, 0.0
        if not pair.got.size:
            return
        ratio = flat.ratio[part]
        self._at = at = start + int(ratio.argmax())
        worst = flat.ratio[at]
        self.ok = bool(worst <= 1)
        self.budget = float(worst) if np.isfinite(worst) else None

    def figure(self) -> Figure:
        """The figure of this quantity in this step."""
        with np.errstate(all="ignore"):
            return self._figure()

    def _figure(self) -> Figure:
        pair, flat, part = self._pair, self._flat, self._part
        quantity, stored = pair.value, flat.stored
        undetermined = float(quantity.undetermined.mean()) if quantity.undetermined is not None else 0.0
        if not pair.got.size:
            return Figure(
                quantity=pair.quantity,
                step=pair.step,
                budget=0.0,
                undetermined=undetermined,
                n=pair.context.n,
                kappa=pair.context.kappa,
                source=flat.source,
            )
        at, clean = self._at, self.budget is not None
        # as numbers of Python: of a single one they compute ten times as fast as NumPy
        worst, allowed, value = float(flat.error[at]), float(flat.allowed[at]), float(flat.value[at])
        return Figure(
            quantity=pair.quantity,
            step=pair.step,
            budget=self.budget,
            error=worst if clean else None,
            allowed=allowed,
            got=_text(flat.got[at], quantity.stored),
            expected=_text(flat.reference[at], quantity.stored),
            index=_index(at - part.start, pair.got.shape),
            ulps=worst / ulp_at(value, stored) if clean else None,
            exceeding=0 if self.ok else int(np.count_nonzero(flat.ratio[part] > 1)),
            size=pair.got.size,
            relative=_relative(flat.largest_error(part), flat.largest_value(part)) if clean else None,
            undetermined=undetermined,
            n=pair.context.n,
            kappa=pair.context.kappa,
            storage=storage_rounding(value, stored) / allowed if clean and allowed else None,
            source=flat.source,
            ok=self.ok,
        )


def _index(place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Where in an array of this shape the element stands that comes at this place in C order."""
    index: list[int] = []
    for size in reversed(shape):
        place, rest = divmod(place, size)
        index.append(rest)
    return tuple(reversed(index))


def _joined(arrays: Sequence[Array]) -> Array:
    """(total,), the elements of each in C order."""
    return arrays[0].ravel() if len(arrays) == 1 else np.concatenate([array.ravel() for array in arrays])


def _over(error: Array, allowed: Array) -> Array:
    """error / allowed; an explicit tolerance may allow 0."""
    ratio: Array = np.where(error > 0, error / allowed, 0)
    return ratio


def _relative(error: float, top: float) -> float | None:
    """max|error| / max|reference|; None stands for infinite."""
    if error == 0:
        return 0.0
    return error / top if top else None


_DIGITS = {"float64": 17, "float32": 9, "bfloat16": 4, "float16": 5}


def _text(number: Any, stored: str) -> str:
    return f"{float(number):.{_DIGITS[stored]}g}"
