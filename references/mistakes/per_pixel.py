"""Buffers of another shape: a mistake that no reference of the definition can be compared with, value by value.

It is therefore no part of MISTAKES, and serves to recognise what was observed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from references.expected import Quantity
from references.mistakes.catalogue import Mistake, right


def _per_pixel(f: Any, values: Any) -> Any:
    """Statistics laid out at every element, (slices, elements) -> (C, *spatial)."""
    laid_out = np.broadcast_to(values, f.x.shape)
    return f.fold.unfold(laid_out)[0]


def _aligned(buffer: Any, spatial: int) -> Any:
    """A buffer (C,), or (1, C, *spatial) as it has become, in a shape that broadcasts over (C, *spatial)."""
    return buffer[0] if buffer.ndim > 1 + spatial else buffer.reshape(*buffer.shape, *[1] * (1 + spatial - buffer.ndim))


def _update(self: Any, f: Any, state: Any, mode: Any) -> Any:
    spatial, samples = len(f.fold.shape) - 2, f.fold.shape[0]
    if not self.tracks or mode != "train" or not spatial or not samples:
        return right(self).update(f, state, mode)
    x = f.fold.unfold(f.x)
    mean = x.mean(axis=0)
    new = {"running_mean": mean, "running_var": self.stored_variance(((x - mean) ** 2).mean(axis=0), samples)}
    size = {"running_mean": np.abs(x).mean(axis=0), "running_var": (x * x).mean(axis=0)}
    after = dict(state)
    count = state["num_batches_tracked"]
    after["num_batches_tracked"] = Quantity(count.value + 1, count.scale, "int64")
    momentum, U, A = self.momentum(int(count.value) + 1), self.precision.U, self.precision.A(samples)
    for name, value in new.items():
        old = state[name]
        moved = self.moved(_aligned(old.value, spatial), value, momentum)
        scale = U * ((2 * A + 8) * (size[name] + np.abs(value)) + 3 * np.abs(_aligned(old.value, spatial)))
        after[name] = Quantity(moved[None], np.broadcast_to(scale, moved.shape)[None], old.stored)
    return after


def _running_statistics(self: Any, fold: Any, state: Any, mode: Any) -> Any:
    if self.uses_batch(mode) or state["running_mean"].value.ndim == 1:
        return right(self).running_statistics(fold, state, mode)

    def everywhere(buffer: Quantity) -> Quantity:
        value, scale = (np.broadcast_to(part, fold.shape) for part in (buffer.value, buffer.scale))
        return Quantity(fold.fold(value), fold.fold(scale), buffer.stored)

    return everywhere(state["running_mean"]), everywhere(state["running_var"])


SHAPED = (
    Mistake(
        "running-buffers-per-pixel", "the running buffers keep one value for every pixel, not for every channel",
        "output", ("batch_norm",), {"update": _update, "running_statistics": _running_statistics},
    ),
)  # fmt: skip
