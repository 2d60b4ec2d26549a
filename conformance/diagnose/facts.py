"""What is so about the errors of one case, whether or not anything explains them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from conformance.diagnose.replica import Place, Replica
from conformance.judge.allowance import storage_rounding
from conformance.observation import Array
from conformance.record import Fact
from references.rounding import FORMATS

#: So much of the largest error may be noise where an error is called constant.
_NOISE = 1e-2


def facts_of(replica: Replica) -> tuple[Fact, ...]:
    """Facts about the wrong quantities, those of the whole case first."""
    return (*_about_steps(replica), *(fact for name in _names(replica) for fact in _about(replica, name)))


def _names(replica: Replica) -> list[str]:
    return list(dict.fromkeys(place.quantity for place in replica.places if place in replica.over))


def _about_steps(replica: Replica) -> Iterator[Fact]:
    modes = replica.case.steps
    wrong = {place.step for place in replica.over}
    if len(modes) < 2 or not wrong:
        return
    kinds = {modes[step] for step in wrong}
    for mode, other in (("eval", "train"), ("train", "eval")):
        if kinds == {mode} and other in modes:
            yield Fact("", f"only-{mode}", f"only {mode} steps are wrong, {other} steps are right")
    first = min(step for step in wrong)
    if first > 0 and modes[first] in modes[:first]:
        yield Fact("", "only-later-steps", f"the first {modes[first]} step is right, a later one is not")
    if replica.over and not replica.wrong:
        yield Fact("", "drifts", "every step is right, given the buffers that it found: what is wrong adds up")


def _about(replica: Replica, name: str) -> Iterator[Fact]:
    place = min(place for place in replica.over if place.quantity == name)
    got = replica.got(place)
    quantity = replica.judged[place.step].quantities[name]
    if got.shape != quantity.value.shape or not got.size or quantity.stored == "int64":
        return
    with np.errstate(all="ignore"):
        seen, expected = got.astype(np.float64), quantity.value.astype(np.float64)
        allowed = (quantity.scale + storage_rounding(quantity.value, FORMATS[quantity.stored])).astype(np.float64)
        judged = np.isfinite(allowed) & np.isfinite(expected)
        if np.isnan(seen[judged]).any():
            yield Fact(name, "nan", f"{name} has NaN where it should have numbers")
            return
        error = np.where(judged, seen - expected, 0.0)
        over = np.abs(error) > np.where(judged, allowed, np.inf)
        yield from _whole(replica, place, seen, expected, allowed)
        yield from _where(name, over)
        yield from _shape(name, error, seen, expected, over & judged)


def _whole(replica: Replica, place: Place, seen: Array, expected: Array, allowed: Array) -> Iterator[Fact]:
    name = place.quantity
    if expected.any() and not seen.any():
        yield Fact(name, "zero", f"{name} is zero everywhere")
    elif bool((np.abs(seen + expected) <= allowed).all()):
        yield Fact(name, "sign", f"{name} has the wrong sign")
    if name.startswith("buffer."):
        before = (
            replica.observation.steps[place.step - 1].arrays.get(name)
            if place.step
            else replica.inputs.buffers.get(name.removeprefix("buffer."))
        )
        if before is not None and before.shape == seen.shape and bool((before.astype(np.float64) == seen).all()):
            yield Fact(name, "unmoved", f"{name} is what it was before the step")


def _axis_name(axis: int, rank: int, name: str) -> str:
    if name not in ("output", "grad_input"):
        return "channel" if rank == 1 else f"axis {axis}"
    return {0: "axis 0 (samples)", 1: "axis 1"}.get(axis, f"axis {axis}")


def _where(name: str, over: Array) -> Iterator[Fact]:
    """Whether the wrong values lie in one part of the array."""
    count = int(over.sum())
    if not count or over.size < 4:
        return
    for axis, size in enumerate(over.shape):
        others = tuple(other for other in range(over.ndim) if other != axis)
        indices = np.flatnonzero(over.any(axis=others))
        label = _axis_name(axis, over.ndim, name)
        if size < 2 or len(indices) == size:
            continue
        if len(indices) == 1:
            kind, says = "one", f"only index {indices[0]} of {size} of {label}"
        elif indices[0] > 0 and len(indices) == size - indices[0]:
            kind, says = "tail", f"only indices from {indices[0]} on of {size} of {label}"
        elif len(indices) == indices[-1] + 1:
            kind, says = "head", f"only indices up to {indices[-1]} of {size} of {label}"
        else:
            kind, says = "some", f"only {len(indices)} of {size} indices of {label}"
        yield Fact(name, f"{kind}-along-{axis}", f"{name} is wrong in {says}")
    flat = np.flatnonzero(over.reshape(-1))
    for block in (1024, 512, 256, 128, 64, 32, 16, 8):
        start = over.size // block * block
        if start and flat[0] >= start and over.size % block:
            yield Fact(name, "tail", f"{name} is wrong past the last whole block of {block} values alone")
            break


def _shape(name: str, error: Array, seen: Array, expected: Array, over: Array) -> Iterator[Fact]:
    """Whether the error, or its ratio to the value, is one number, or one along some axes."""
    if over.sum() < 4:
        return
    ratio = np.where(np.abs(expected) > 1e-3 * np.abs(expected).max(), seen / np.where(expected, expected, 1), np.nan)
    for kind, values in (("added", error), ("times", ratio)):
        spread = np.nanmax(values) - np.nanmin(values) if np.isfinite(values).any() else np.inf
        size = np.nanmax(np.abs(values - (kind == "times"))) if np.isfinite(values).any() else np.inf
        if not size or not np.isfinite(size):
            continue
        if spread <= _NOISE * size:
            one = float(np.nanmean(values))
            told = f"{name} is off by {one:.3g} everywhere" if kind == "added" else f"{name} is {one:.4g} times right"
            yield Fact(name, kind, told)
            return
        along = [axis for axis in range(values.ndim) if _constant_along(values, axis, float(size))]
        rest = [axis for axis in range(values.ndim) if axis not in along and values.shape[axis] > 1]
        if along and rest:
            axes = ", ".join(_axis_name(axis, values.ndim, name) for axis in rest)
            what = "the error" if kind == "added" else "its ratio to what is right"
            yield Fact(name, f"{kind}-by-{rest}", f"{name}: {what} depends on {axes} alone")
            return


def _constant_along(values: Array, axis: int, size: float) -> bool:
    if values.shape[axis] < 2:
        return False
    spread = np.fmax.reduce(values, axis=axis) - np.fmin.reduce(values, axis=axis)  # which ignore NaN without a warning
    return bool(np.fmax.reduce(spread, axis=None) <= _NOISE * size)
