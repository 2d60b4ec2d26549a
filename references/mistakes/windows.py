"""Mistakes in pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from references.mistakes.catalogue import Mistake, right
from references.mistakes.linear_maps import changed_axes, without_dilation

_MAX, _AVG = ("max_pool",), ("avg_pool",)


def _last(_self: Any, patches: Any, inside: Any) -> Any:
    best = inside & (patches == patches.max(axis=-1, keepdims=True))
    return patches.shape[-1] - 1 - np.argmax(best[..., ::-1], axis=-1)


def _overwritten(_self: Any, over: Any, back: Any) -> Any:
    """The last window that selects an element has its way."""
    n, c = back.shape[:2]
    total = np.zeros((n, c, (over.rows.length + 1) * (over.columns.length + 1)), back.dtype)
    for window, places in enumerate(over.flat):
        given = back[:, :, window]
        total[:, :, places] = np.where(given == 0, total[:, :, places], given)
    return total.reshape(n, c, over.rows.length + 1, over.columns.length + 1)[:, :, :-1, :-1]


def _everywhere(self: Any, chosen: Any, gy: Any) -> Any:
    return right(self).gradient(np.ones_like(chosen), gy)


def _whole_kernel(self: Any, over: Any) -> Any:
    return np.full_like(right(self).padded_size(over), over.kernel)


POOLING = (
    Mistake("ties-to-the-last", "of equal elements the last gets the gradient in place of the first", "grad_input",
            _MAX, {"selected": _last}),
    Mistake("padding-counts-as-zero", "zeros in the padding take part in the maximum", "output", _MAX,
            {"outside": lambda _self: 0.0}),
    Mistake("overlap-overwritten", "an element that several windows select keeps what the last one gives back",
            "grad_input", _MAX, {"collect": _overwritten}),
    Mistake("maximum-gradient-everywhere", "every element of the window gets the gradient", "grad_input", _MAX,
            {"gradient": _everywhere}),
    Mistake("pooling-dilation-ignored", "the window reads neighbouring pixels whatever dilation says", "output", _MAX,
            {"windows": changed_axes(without_dilation)}),
    Mistake("count-include-pad-inverted", "padding counts where it should not, and does not where it should", "output",
            _AVG, {"padded_size": lambda self, over: right(self).image_size(over),
                   "image_size": lambda self, over: right(self).padded_size(over)}),
    Mistake("divisor-override-ignored", "the size of the window divides whatever divisor_override says", "output", _AVG,
            {"override": lambda _self: None}),
    Mistake("sum-for-mean", "the sum of the window in place of its mean", "output", _AVG,
            {"mean": lambda self, patches, divisor: right(self).mean(patches, np.ones_like(divisor))}),
    Mistake("average-gradient-undivided", "every element of the window gets the whole gradient", "grad_input", _AVG,
            {"gradient": lambda self, gy, divisor, inside:
             right(self).gradient(gy, np.ones_like(divisor), inside)}),
    Mistake("overhang-counted", "a window that ceil_mode lets hang over counts all of its kernel", "output", _AVG,
            {"padded_size": _whole_kernel}),
)  # fmt: skip
