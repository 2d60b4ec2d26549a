"""Too little precision somewhere in the middle."""

from __future__ import annotations

from typing import Any

import numpy as np

from references.mistakes.catalogue import HALF, NORMS, Mistake, right
from references.rounding import STORAGE

_WIDE = ("float64", "float32")


def rounded(x: Any, name: str) -> Any:
    """x as it comes back from a storage format."""
    return x.astype(STORAGE[name]).astype(x.dtype)


def truncated(x: Any, bits: int) -> Any:
    """x rounded to ``bits`` significand bits."""
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits)


def accumulated(x: Any, name: str) -> Any:
    """The sum of each slice, rounded to a storage format after every addition: (slices, n) -> (slices, 1)."""
    total = np.add.accumulate(x.astype(STORAGE[name]), axis=1)
    return total[:, -1:].astype(x.dtype)


def _statistics_in_storage(self: Any, x: Any, fold: Any) -> Any:
    if not x.size:
        return right(self).statistics(x, fold)
    n = x.shape[1]
    m = accumulated(x, self.dtype) / n if self.centred else np.zeros((x.shape[0], 1), x.dtype)
    return m, accumulated((x - m) ** 2, self.dtype) / n


def _stored_mean(self: Any, x: Any, m: Any, *, constant: bool) -> Any:
    return x - rounded(m, self.dtype) if self.centred else right(self).centre(x, m, constant=constant)


LOW_PRECISION = (
    Mistake(
        "statistics-accumulated-in-storage-format", "mean and variance are summed in bfloat16 or float16", "output",
        NORMS, {"statistics": _statistics_in_storage}, HALF,
    ),
    Mistake(
        "statistics-stored-in-storage-format", "mean and 1/std are rounded to bfloat16 or float16 before use", "output",
        NORMS,
        {
            "centre": _stored_mean,
            "inverse_std": lambda self, v: rounded(right(self).inverse_std(v), self.dtype),
        },
        HALF,
    ),
    Mistake(
        "normalised-rounded-before-affine", "xh is rounded to bfloat16 or float16 before w xh + b", "output", NORMS,
        {"affine": lambda self, xh, w, b: w * rounded(xh, self.dtype) + b}, HALF,
        unseen={"rms_norm": "without a bias nothing cancels, and two roundings look like one"},
    ),
    Mistake(
        "coarse-reciprocal-root", "1/std from a 12-bit reciprocal square root without a Newton step", "output", NORMS,
        {"inverse_std": lambda self, v: truncated(right(self).inverse_std(v), 12)},
    ),
    Mistake(
        "tf32-inputs", "the input is rounded to ten bits, as tensor cores do with TF32", "output", NORMS,
        {"read": lambda self, x: truncated(right(self).read(x), 11)}, _WIDE,
    ),
    Mistake(
        "float32-inside", "float64 data is computed in float32", "output", NORMS,
        {
            "read": lambda self, x: rounded(right(self).read(x), "float32"),
            "inverse_std": lambda self, v: rounded(right(self).inverse_std(v), "float32"),
        },
        ("float64",),
    ),
    Mistake(
        "bfloat16-inside", "float32 or float64 data is computed in bfloat16, as under a forgotten autocast", "output",
        NORMS, {"read": lambda self, x: rounded(right(self).read(x), "bfloat16")}, _WIDE,
    ),
)  # fmt: skip
