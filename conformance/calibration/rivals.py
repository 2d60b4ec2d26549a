"""What others compare with: the default tolerances of torch.testing.assert_close, and a distance in ulps.

Both see the reference rounded to the storage format, and only elements about which the mathematics can decide.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Quantity
from references.rounding import STORAGE

Array = NDArray[Any]

#: rtol and atol: torch.testing.assert_close, documentation of torch 2.13
ASSERT_CLOSE: dict[str, tuple[float, float]] = {
    "float64": (1e-7, 1e-7),
    "float32": (1.3e-6, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float16": (1e-3, 1e-5),
}
ULPS = 64


def decided(quantity: Quantity) -> Array:
    """Where there is something to compare: a finite value that is neither undetermined nor out of range."""
    clear = np.isfinite(quantity.value) & np.isfinite(quantity.scale)
    return clear if quantity.undetermined is None else clear & ~quantity.undetermined


def rounded(quantity: Quantity) -> Array:
    """The reference as a perfect backend would store it."""
    value = quantity.value
    with np.errstate(over="ignore"):
        if quantity.stored == "bfloat16":
            value = value.astype(np.float32)
        return value.astype(STORAGE[quantity.stored])


def assert_close_passes(quantity: Quantity, got: Array) -> bool:
    """|got - expected| <= atol + rtol |expected|, equal infinities pass."""
    rtol, atol = ASSERT_CLOSE[quantity.stored]
    where = decided(quantity)
    expected, seen = (array[where].astype(np.float64) for array in (rounded(quantity), got))
    with np.errstate(invalid="ignore"):
        near = np.abs(seen - expected) <= atol + rtol * np.abs(expected)
    return bool(((expected == seen) | near).all())


def ulps_pass(quantity: Quantity, got: Array, limit: int = ULPS) -> bool:
    """At most ``limit`` representable numbers from one to the other."""
    where = decided(quantity)
    expected, seen = rounded(quantity)[where], got[where]
    if np.isnan(seen.astype(np.float64)).any():
        return False
    return bool((np.abs(_rank(seen) - _rank(expected)) <= limit).all())


def _rank(x: Array) -> Array:
    """The position of a number among all numbers of its format; in float64, since 2^63 apart is apart enough."""
    signed = np.dtype(f"i{x.dtype.itemsize}")
    bits = np.ascontiguousarray(x).view(signed)
    magnitude = bits & np.iinfo(signed).max
    if x.dtype.itemsize < 8:
        return np.where(bits < 0, -magnitude.astype(np.int64), magnitude.astype(np.int64))
    # two int64 positions may be 2^64 apart: halve them, which costs one ulp in 64
    return np.where(bits < 0, -(magnitude // 2), magnitude // 2) * 2.0
