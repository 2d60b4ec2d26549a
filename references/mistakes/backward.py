"""Mistakes in the gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from references.mistakes.catalogue import BIASED, CENTRED, HALF, NORMS, RUNNING, Mistake, right
from references.rounding import STORAGE


def _without_eps(self: Any, f: Any, gy: Any, S1: Any, S2: Any) -> Any:
    return right(self).input_gradient(replace(f, s=1 / np.sqrt(f.v)), gy, S1, S2)


def _over_n_minus_1(self: Any, f: Any, gy: Any, S1: Any, S2: Any) -> Any:
    n = f.x.shape[1]
    factor = self.real(n) / self.real(max(n - 1, 1))
    return right(self).input_gradient(f, gy, S1 * factor, S2 * factor)


def _as_in_training(self: Any, f: Any, gy: Any) -> Any:
    S1, S2 = self.backward_sums(gy * f.w, f.xh)
    return self.input_gradient(f, gy, S1, S2)


def _dropped(x: Any) -> Any:
    """All but the last row: the last sample, or the last row of a LayerNorm."""
    kept = x.copy()
    kept[-1:] = 0
    return kept


def _gathered_without_last_sample(f: Any, terms: Any) -> Any:
    rest = f.fold.fold(_dropped(f.fold.unfold(terms)))
    return f.fold.gather(rest)


def _accumulated(self: Any, f: Any, terms: Any) -> Any:
    """The sequential sum over everything that shares a parameter, rounded to the storage format at each addition."""
    spread = f.fold.unfold(terms)
    shared = tuple(axis for axis in range(spread.ndim) if axis not in f.fold.parameter_axes)
    ordered = spread.transpose(*f.fold.parameter_axes, *shared)
    kept = ordered.shape[: len(f.fold.parameter_axes)]
    if not ordered.size:
        return ordered.reshape(*kept, -1).sum(axis=-1)
    flat = ordered.reshape(*kept, -1).astype(STORAGE[self.dtype])
    return np.add.accumulate(flat, axis=-1)[..., -1].astype(spread.dtype)


BACKWARD = (
    Mistake(
        "grad-without-mean-term", "s (g - xh S2): the mean of the gradient is not subtracted", "grad_input", CENTRED,
        {"input_gradient": lambda self, f, gy, S1, S2: right(self).input_gradient(f, gy, 0 * S1, S2)},
    ),
    Mistake(
        "grad-without-correlation-term", "s (g - S1): the path through the variance is missing", "grad_input", NORMS,
        {"input_gradient": lambda self, f, gy, S1, S2: right(self).input_gradient(f, gy, S1, 0 * S2)},
    ),
    Mistake(
        "grad-through-constants", "s g: mean and variance were detached", "grad_input", NORMS,
        {"input_gradient": lambda self, f, gy, S1, S2: right(self).input_gradient(f, gy, 0 * S1, 0 * S2)},
    ),
    Mistake(
        "grad-correlation-doubled", "the path through the variance counts twice", "grad_input", NORMS,
        {"input_gradient": lambda self, f, gy, S1, S2: right(self).input_gradient(f, gy, S1, 2 * S2)},
    ),
    Mistake(
        "grad-over-n-minus-1", "the means in the gradient are taken over n - 1", "grad_input", NORMS,
        {"input_gradient": _over_n_minus_1},
    ),
    Mistake(
        "grad-without-eps", "the gradient uses 1 / sqrt(v) while the output uses 1 / sqrt(v + eps)", "grad_input",
        NORMS, {"input_gradient": _without_eps},
    ),
    Mistake(
        "grad-without-weight", "the gradient of xh is taken for the gradient of y", "grad_input", NORMS,
        {"backward_sums": lambda self, g, xh: right(self).backward_sums(g, xh),
         "input_gradient": lambda self, f, gy, S1, S2: right(self).input_gradient(
             replace(f, w=np.ones_like(f.w)), gy, S1, S2)},
    ),
    Mistake(
        "grad-scaled-twice", "s^2 in place of s", "grad_input", NORMS,
        {"input_gradient": lambda self, f, gy, S1, S2: f.s * right(self).input_gradient(f, gy, S1, S2)},
    ),
    Mistake(
        "eval-grad-as-in-training", "eval mode differentiates through batch statistics that it did not use",
        "grad_input", RUNNING, {"constant_input_gradient": _as_in_training},
    ),
    Mistake(
        "grad-weight-uncentred", "sum of gy x s in place of gy xh", "grad.weight", CENTRED,
        {"weight_gradient": lambda _self, f, gy: f.fold.gather(gy * f.x * f.s)},
    ),
    Mistake(
        "grad-weight-from-output", "sum of gy y in place of gy xh", "grad.weight", NORMS,
        {"weight_gradient": lambda _self, f, gy: f.fold.gather(gy * f.y)},
    ),
    Mistake(
        "grad-weight-not-scaled", "sum of gy (x - m), without 1/std", "grad.weight", NORMS,
        {"weight_gradient": lambda _self, f, gy: f.fold.gather(gy * f.xc)},
    ),
    Mistake(
        "grad-weight-mean", "the mean over the batch in place of the sum", "grad.weight", NORMS,
        {"weight_gradient": lambda self, f, gy: right(self).weight_gradient(f, gy) / max(f.fold.terms, 1)},
    ),
    Mistake(
        "grad-weight-row-dropped", "the last sample is left out of the weight's gradient", "grad.weight", NORMS,
        {"weight_gradient": lambda _self, f, gy: _gathered_without_last_sample(f, gy * f.xh)},
    ),
    Mistake(
        "grad-weight-accumulated-in-storage-format", "the weight's gradient is summed in bfloat16 or float16",
        "grad.weight", NORMS, {"weight_gradient": lambda self, f, gy: _accumulated(self, f, gy * f.xh)}, HALF,
    ),
    Mistake(
        "grad-bias-mean", "the mean over the batch in place of the sum", "grad.bias", BIASED,
        {"bias_gradient": lambda self, f, gy: right(self).bias_gradient(f, gy) / max(f.fold.terms, 1)},
    ),
    Mistake(
        "grad-bias-row-dropped", "the last sample is left out of the bias's gradient", "grad.bias", BIASED,
        {"bias_gradient": lambda _self, f, gy: _gathered_without_last_sample(f, gy + 0 * f.x)},
    ),
    Mistake(
        "grad-bias-times-weight", "sum of gy w in place of gy", "grad.bias", BIASED,
        {"bias_gradient": lambda _self, f, gy: f.fold.gather(gy * f.w)},
    ),
    Mistake(
        "grad-bias-accumulated-in-storage-format", "the bias's gradient is summed in bfloat16 or float16",
        "grad.bias", BIASED, {"bias_gradient": lambda self, f, gy: _accumulated(self, f, gy + 0 * f.x)}, HALF,
    ),
)  # fmt: skip
