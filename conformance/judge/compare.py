"""Comparing one observed quantity with its expectation, element by element."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from conformance.judge.allowance import allowance, storage_rounding, ulp
from conformance.record import Figure
from conformance.suite.case import Tolerance
from references.expected import Expected, Quantity
from references.rounding import FORMATS, STORAGE

Array = NDArray[Any]


def compare(
    name: str, quantity: Quantity, got: Array, step: int, context: Expected, label: str, tolerance: Tolerance | None
) -> Figure:
    """The figure of one quantity in one step; ``budget`` is the worst error / allowed, 1.0 the limit.

    NaN must meet NaN.  A returned infinity counts as the largest number that rounds to a finite one, F, and so does
    everything beyond F in the reference: whether an overflow rounds up to infinity is decided by one rounding.
    """
    got = np.asarray(got)
    if got.shape != quantity.value.shape:
        return _wrong(name, step, f"shape {list(got.shape)}", f"shape {list(quantity.value.shape)}")
    if got.dtype != STORAGE[quantity.stored]:
        return _wrong(name, step, f"dtype {got.dtype}", f"dtype {quantity.stored}")
    if quantity.stored == "int64":
        return _exact(name, quantity, got, step)
    with np.errstate(all="ignore"):
        return _floating(name, quantity, got, step, context, label, tolerance)


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


def _floating(
    name: str, quantity: Quantity, got: Array, step: int, context: Expected, label: str, tolerance: Tolerance | None
) -> Figure:
    stored = FORMATS[quantity.stored]
    largest = stored.max * (1 + stored.u)
    value = np.clip(quantity.value, -largest, largest)  # keeps NaN
    judged = replace(quantity, value=value)
    allowed, source = (limit := allowance(judged, label, tolerance)).allowed, limit.source
    seen = got.astype(value.dtype)
    seen = np.where(np.isinf(seen), np.copysign(largest, seen), seen)

    nothing_promised = np.isposinf(quantity.scale)  # 0 / 0 in the reference of an undetermined slice is no expectation
    expects_nan = np.isnan(value) & ~nothing_promised
    promised = ~np.isinf(allowed) & ~np.isnan(value)
    allowed = np.where(np.isnan(allowed), storage_rounding(value, stored), allowed)
    error = np.where(promised, np.abs(seen - value), 0)
    class_wrong = expects_nan & ~(np.isnan(got) | (quantity.any_nonfinite & np.isinf(got)))
    class_wrong |= promised & np.isnan(seen)
    ratio = np.where(promised & (error > 0), error / allowed, 0)  # an explicit tolerance may allow 0
    ratio = np.where(class_wrong, np.inf, ratio)
    undetermined = float(quantity.undetermined.mean()) if quantity.undetermined is not None else 0.0
    figure = Figure(
        quantity=name,
        step=step,
        budget=0.0,
        size=got.size,
        undetermined=undetermined,
        n=context.n,
        kappa=context.kappa,
        source=source,
    )
    if not got.size:
        return figure
    where = np.unravel_index(int(np.argmax(ratio)), got.shape)
    finite = np.abs(value[promised])
    top = float(finite.max()) if finite.size else 0.0
    clean = bool(np.isfinite(ratio[where]))
    worst = float(error[where])
    largest_error = float(np.nanmax(error)) if clean else float("inf")
    return msgspec.structs.replace(
        figure,
        budget=float(ratio[where]) if clean else None,
        error=worst if clean else None,
        allowed=float(allowed[where]),
        got=_text(got[where], quantity.stored),
        expected=_text(quantity.value[where], quantity.stored),
        index=tuple(int(i) for i in where),
        ulps=worst / float(ulp(value[where], stored)) if clean else None,
        exceeding=int((ratio > 1).sum()),
        relative=_relative(largest_error, top) if clean else None,
        storage=float(storage_rounding(value[where], stored) / allowed[where]) if clean and allowed[where] else None,
        ok=bool(ratio[where] <= 1),
    )


def _relative(error: float, top: float) -> float | None:
    """max|error| / max|reference|; None stands for infinite."""
    if error == 0:
        return 0.0
    return error / top if top else None


_DIGITS = {"float64": 17, "float32": 9, "bfloat16": 4, "float16": 5}


def _text(number: Any, stored: str) -> str:
    return f"{float(number):.{_DIGITS[stored]}g}"
