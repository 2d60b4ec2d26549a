"""Mistakes in activations, in flattening and in dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from references.mistakes.catalogue import Mistake, right
from references.mistakes.low_precision import rounded
from references.rounding import STORAGE

_RELU, _SIGMOID, _TANH, _FLATTEN = ("relu",), ("sigmoid",), ("tanh",), ("flatten",)
_DROPOUT = ("dropout", "channel_dropout")


def _in_compute(self: Any, x: Any) -> Any:
    return x.astype(STORAGE[self.precision.compute.name])


def _absolute_logistic(self: Any, x: Any) -> Any:
    """1 - s(-x) for negative x, in the compute format."""
    z = _in_compute(self, np.abs(x))
    upper = 1 / (1 + np.exp(-z))
    return np.where(x < 0, 1 - upper, upper).astype(x.dtype)


def _by_exponentials(self: Any, x: Any) -> Any:
    """(e^z - 1) / (e^z + 1) with z = 2 |x|, which cancels for small x, in the compute format."""
    e = np.exp(-2 * _in_compute(self, np.abs(x)))
    return (np.sign(x) * ((1 - e) / (1 + e))).astype(x.dtype)


def _column_major(self: Any, x: Any) -> Any:
    return x.reshape(self.shape(x.shape), order="F")


def _other_mask(self: Any, gy: Any, mask: Any) -> Any:
    return right(self).gradient(gy, np.roll(mask.reshape(-1), 1).reshape(mask.shape))


def _inverse_of_p(self: Any) -> Any:
    return 1 / self.real(self.p) if self.p else self.real(1)


ELEMENTWISE = (
    Mistake("relu-gradient-at-zero", "the gradient passes at exactly 0", "grad_input", _RELU,
            {"gradient": lambda self, x, gy: np.where(x < 0, self.real(0), gy)}),
    Mistake("relu-nan-lost", "max(0, NaN) gives 0, and the gradient stops there", "grad_input", _RELU,
            {"value": lambda _self, x: np.fmax(x, 0),
             "gradient": lambda self, x, gy: np.where(x > 0, gy, self.real(0))}),
    Mistake("relu-leaky", "negative values are scaled by 0.01 in place of 0", "output", _RELU,
            {"value": lambda _self, x: np.where(x < 0, x / 100, x)}),
    Mistake("relu-clipped", "values above 6 are cut off, as ReLU6 does", "output", _RELU,
            {"value": lambda _self, x: np.clip(x, 0, 6)}),
    Mistake("relu-gradient-unmasked", "the gradient passes everywhere", "grad_input", _RELU,
            {"gradient": lambda _self, _x, gy: gy}),
    Mistake("sigmoid-hard", "clip(x / 6 + 1 / 2, 0, 1) in place of the logistic function", "output", _SIGMOID,
            {"value": lambda _self, x: np.clip(x / 6 + 0.5, 0, 1)}),
    Mistake("sigmoid-absolute-accuracy", "small values are 1 - s(-x), which has an absolute accuracy only", "output",
            _SIGMOID, {"value": _absolute_logistic},
            unseen={"float16": "what is lost is smaller than the smallest number of float16"}),
    Mistake("sigmoid-gradient-of-input", "the gradient is x (1 - x) in place of y (1 - y)", "grad_input", _SIGMOID,
            {"gradient": lambda _self, x, gy: gy * x * (1 - x)}),
    Mistake("sigmoid-gradient-without-complement", "the gradient is y in place of y (1 - y)", "grad_input", _SIGMOID,
            {"gradient": lambda self, x, gy: gy * self.value(x)}),
    Mistake("tanh-rational", "x (27 + x^2) / (27 + 9 x^2), clipped, in place of tanh", "output", _TANH,
            {"value": lambda _self, x: np.clip(x * (27 + x * x) / (27 + 9 * x * x), -1, 1)}),
    Mistake("tanh-by-exponentials", "(e^2x - 1) / (e^2x + 1), which cancels for small x", "output", _TANH,
            {"value": _by_exponentials},
            unseen={"float16": "computed in float32, it is exact enough before the output is rounded to float16"}),
    Mistake("tanh-gradient-not-squared", "the gradient is 1 - |y| in place of 1 - y^2", "grad_input", _TANH,
            {"gradient": lambda self, x, gy: gy * (1 - np.abs(self.value(x)))}),
    Mistake("tanh-in-bfloat16", "float32 or float64 data is computed in bfloat16", "output", _TANH,
            {"value": lambda self, x: right(self).value(rounded(x, "bfloat16"))}, ("float64", "float32")),
    Mistake("flatten-column-major", "the first of the flattened axes runs fastest in place of the last", "output",
            _FLATTEN, {"value": _column_major}),
    Mistake("flatten-gradient-column-major", "the gradient is put back in column-major order", "grad_input", _FLATTEN,
            {"gradient": lambda _self, gy, shape: gy.reshape(shape, order="F")}),
    Mistake("dropout-unscaled", "kept values are not scaled by 1 / (1 - p)", "output", _DROPOUT,
            {"factor": lambda self: self.real(1)}),
    Mistake("dropout-scaled-by-p", "kept values are scaled by 1 / p in place of 1 / (1 - p)", "output", _DROPOUT,
            {"factor": _inverse_of_p}),
    Mistake("dropout-in-eval", "eval mode drops as training does", "output", _DROPOUT,
            {"drops": lambda self, _mode: self.p > 0}),
    Mistake("dropout-gradient-unmasked", "the gradient passes where the value was dropped", "grad_input", _DROPOUT,
            {"gradient": lambda self, gy, _mask: gy * self.factor()}),
    Mistake("dropout-gradient-unscaled", "the gradient is masked, but not scaled by 1 / (1 - p)", "grad_input",
            _DROPOUT, {"gradient": lambda self, gy, mask: np.where(mask, gy, self.real(0))}),
    Mistake("dropout-gradient-draws-again", "the gradient has a mask of its own", "grad_input", _DROPOUT,
            {"gradient": _other_mask}),
)  # fmt: skip
