"""Mistakes in mean, variance and eps."""

from __future__ import annotations

from typing import Any

import numpy as np

from references.mistakes.catalogue import CENTRED, NORMS, Mistake, right
from references.rounding import STORAGE


def _unbiased(self: Any, x: Any, fold: Any) -> Any:
    m, v = right(self).statistics(x, fold)
    n = x.shape[1]
    return m, v * (self.real(n) / self.real(max(n - 1, 1)))


def _one_pass(self: Any, x: Any, fold: Any) -> Any:
    m, _ = right(self).statistics(x, fold)
    compute = STORAGE[self.precision.compute.name]
    mean, square = m.astype(compute), (x * x).mean(axis=1, keepdims=True).astype(compute)
    return m, (square - (mean * mean).astype(compute)).astype(x.dtype)


def _mean_square(self: Any, x: Any, fold: Any) -> Any:
    m, _ = right(self).statistics(x, fold)
    return m, (x * x).mean(axis=1, keepdims=True)


def _absolute_deviation(self: Any, x: Any, fold: Any) -> Any:
    m, _ = right(self).statistics(x, fold)
    return m, np.abs(x - m).mean(axis=1, keepdims=True) ** 2


def _sum_of_squares(self: Any, x: Any, fold: Any) -> Any:
    m, v = right(self).statistics(x, fold)
    return m, v * x.shape[1]


VARIANCE = (
    Mistake(
        "eps-outside-sqrt",
        "1 / (sqrt(v) + eps) in place of 1 / sqrt(v + eps)",
        "output",
        NORMS,
        {"inverse_std": lambda self, v: 1 / (np.sqrt(v) + self.real(self.eps))},
    ),
    Mistake(
        "eps-missing", "1 / sqrt(v) in place of 1 / sqrt(v + eps)", "output", NORMS,
        {"inverse_std": lambda _self, v: 1 / np.sqrt(v)},
    ),
    Mistake(
        "eps-times-ten", "ten times the eps that was asked for", "output", NORMS,
        {"inverse_std": lambda self, v: 1 / np.sqrt(v + self.real(10 * self.eps))},
    ),
    Mistake(
        "eps-squared", "1 / sqrt(v + eps^2), as where eps is added to the standard deviation of one library", "output",
        NORMS, {"inverse_std": lambda self, v: 1 / np.sqrt(v + self.real(self.eps) ** 2)},
    ),
    Mistake(
        "eps-as-floor", "1 / sqrt(max(v, eps)) in place of 1 / sqrt(v + eps)", "output", NORMS,
        {"inverse_std": lambda self, v: 1 / np.sqrt(np.maximum(v, self.real(self.eps)))},
    ),
    Mistake(
        "eps-rounded-to-float16", "eps passes through float16 on its way to the kernel", "output", NORMS,
        {"inverse_std": lambda self, v: 1 / np.sqrt(v + self.real(np.float16(self.eps)))},
    ),
    Mistake(
        "unbiased-variance", "the output is normalised with the variance over n - 1 in place of n", "output",
        NORMS, {"statistics": _unbiased},
    ),
    Mistake(
        "one-pass-variance", "E[x^2] - E[x]^2 in the compute format, which cancels where the mean is large", "output",
        CENTRED, {"statistics": _one_pass},
        unseen={"bfloat16": "computed in float32, it is exact enough before the output is rounded to bfloat16"},
    ),
    Mistake(
        "mean-square-for-variance", "E[x^2] in place of the variance", "output", CENTRED, {"statistics": _mean_square}
    ),
    Mistake(
        "variance-for-std", "divides by v + eps, without the square root", "output", NORMS,
        {"inverse_std": lambda self, v: 1 / (v + self.real(self.eps))},
    ),
    Mistake(
        "absolute-deviation", "the mean absolute deviation in place of the standard deviation", "output", CENTRED,
        {"statistics": _absolute_deviation},
    ),
    Mistake(
        "mean-not-subtracted", "scales x in place of x - mean", "output", CENTRED,
        {"centre": lambda _self, x, _m, *, constant: x},  # noqa: ARG005 - the method's own signature
    ),
    Mistake(
        "mean-subtracted", "LayerNorm in place of RMSNorm: x is centred", "output", ("rms_norm",),
        {"centre": lambda _self, x, _m, *, constant: x - x.mean(axis=1, keepdims=True)},  # noqa: ARG005 - as above
    ),
    Mistake(
        "norm-for-rms", "divides by the Euclidean norm, a sum where a mean belongs", "output", NORMS,
        {"statistics": _sum_of_squares},
    ),
)  # fmt: skip
