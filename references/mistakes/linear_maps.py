"""Mistakes in linear layers and convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from references.mistakes.catalogue import HALF, Mistake, right
from references.mistakes.low_precision import accumulated

_LINEAR, _CONV = ("linear",), ("convolution",)


def _square(w: Any) -> bool:
    """Only of a square matrix the transpose fits."""
    return bool(w.shape[0] == w.shape[1])


def _transposed(self: Any, x: Any, w: Any, b: Any) -> Any:
    return right(self).affine(x, w.T if _square(w) else w, b)


def _gradient_not_transposed(self: Any, gy: Any, w: Any) -> Any:
    return right(self).input_gradient(gy, w.T if _square(w) else w)


def _accumulated_rows(self: Any, x: Any, w: Any, b: Any) -> Any:
    if not x.size or self.dtype not in HALF:
        return right(self).affine(x, w, b)
    return np.concatenate([accumulated(x * row, self.dtype) for row in w], axis=1) + b


def _first_row_dropped(self: Any, x: Any, gy: Any) -> Any:
    return right(self).weight_gradient(x[1:], gy[1:])


def _flipped(self: Any, w: Any) -> Any:
    return right(self).filters(w[:, :, ::-1, ::-1])


def _mixed_groups(self: Any, patches: Any) -> Any:
    """Channel c belongs to group c mod groups in place of c // (C / groups)."""
    channels = patches.shape[1]
    order = np.arange(channels).reshape(channels // self.groups, self.groups).T.reshape(-1)
    return right(self).grouped(patches[:, order])


def _at_the_start(self: Any) -> Any:
    rows, columns = right(self).padding()
    return rows[::-1], columns[::-1]


def _shifted(self: Any) -> Any:
    """One row of the padding above lies below; the shape stays."""
    (top, bottom), columns = right(self).padding()
    return ((top - 1, bottom + 1) if top else (top, bottom)), columns


def changed_axes(change: Any) -> Any:
    """windows() whose two axes are changed."""

    def windows(self: Any, shape: Any) -> Any:
        over = right(self).windows(shape)
        return type(over)(change(over.rows), change(over.columns))

    return windows


def without_dilation(axis: Any) -> Any:
    """Neighbouring elements in place of dilated ones, in as many windows."""
    return replace(axis, dilation=1, after=axis.after - (axis.dilation - 1) * (axis.kernel - 1))


LINEAR_MAPS = (
    Mistake("linear-bias-missing", "W x in place of W x + b", "output", _LINEAR,
            {"affine": lambda self, x, w, b: right(self).affine(x, w, 0 * b)}),
    Mistake("linear-bias-twice", "the bias is added by the product and once more after it", "output", _LINEAR,
            {"affine": lambda self, x, w, b: right(self).affine(x, w, 2 * b)}),
    Mistake("linear-weight-transposed", "a square weight is read as (in, out) in place of (out, in)", "output", _LINEAR,
            {"affine": _transposed}),
    Mistake("linear-accumulated-in-storage-format", "the products are summed in bfloat16 or float16", "output", _LINEAR,
            {"affine": _accumulated_rows}, HALF),
    Mistake("linear-input-gradient-not-transposed", "W gy in place of W^T gy, which a square weight permits",
            "grad_input", _LINEAR, {"input_gradient": _gradient_not_transposed}),
    Mistake("linear-weight-gradient-averaged", "the weight's gradient is the mean over the rows in place of their sum",
            "grad.weight", _LINEAR,
            {"weight_gradient": lambda self, x, gy: right(self).weight_gradient(x, gy) / max(len(x), 1)}),
    Mistake("linear-weight-gradient-row-dropped", "the weight's gradient leaves out one row", "grad.weight", _LINEAR,
            {"weight_gradient": _first_row_dropped}),
    Mistake("linear-bias-gradient-averaged", "the bias's gradient is the mean over the rows in place of their sum",
            "grad.bias", _LINEAR, {"bias_gradient": lambda self, gy: right(self).bias_gradient(gy) / max(len(gy), 1)}),
    Mistake("convolution-bias-missing", "the bias is never added", "output", _CONV,
            {"bias": lambda self, b: 0 * right(self).bias(b)}),
    Mistake("kernel-flipped", "the kernel is mirrored, as in a convolution of the textbooks", "output", _CONV,
            {"filters": _flipped}),
    Mistake("convolution-groups-mixed", "channel c belongs to group c mod groups in place of c // (C / groups)",
            "output", _CONV, {"grouped": _mixed_groups}),
    Mistake("same-padding-at-start", "padding 'same' puts the odd row and column before the image in place of after it",
            "output", _CONV, {"padding": _at_the_start}),
    Mistake("padding-off-by-one", "one row of the padding above the image lies below it", "output", _CONV,
            {"padding": _shifted}),
    Mistake("padding-always-zeros", "zeros stand in the padding whatever padding_mode says", "output", _CONV,
            {"windows": changed_axes(lambda axis: replace(axis, mode="zeros"))}),
    Mistake("convolution-dilation-ignored", "the kernel reads neighbouring pixels whatever dilation says", "output",
            _CONV, {"windows": changed_axes(without_dilation)}),
    Mistake("convolution-weight-gradient-averaged", "the weight's gradient is the mean over the images", "grad.weight",
            _CONV,
            {"weight_gradient": lambda self, patches, gy: right(self).weight_gradient(patches, gy) / max(len(gy), 1)}),
    Mistake("convolution-bias-gradient-of-one-image", "the bias's gradient sums over the last image alone",
            "grad.bias", _CONV, {"bias_gradient": lambda self, gy: right(self).bias_gradient(gy[-1:])}),
    Mistake("convolution-gradient-from-flipped-kernel", "the input's gradient correlates with the mirrored kernel",
            "grad_input", _CONV,
            {"patch_gradient": lambda self, gy, filters: right(self).patch_gradient(gy, filters[..., ::-1])}),
)  # fmt: skip
