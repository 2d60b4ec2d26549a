"""Mistakes in local response normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from references.mistakes.catalogue import Mistake, right

_LRN = ("local_response_norm",)


def _mean_over_present(self: Any, x: Any) -> Any:
    present = self.windowed(np.ones_like(x), *self.window())
    return self.windowed(x * x, *self.window()) / present


def _window_not_mirrored(self: Any, x: Any, gy: Any, a: Any, beta: Any) -> Any:
    below, above = self.window()
    reached = self.windowed(gy * x * a ** (-beta - 1), below, above)
    return gy * a**-beta - 2 * self.alpha * beta / self.size * x * reached


RESPONSE = (
    Mistake("alpha-not-divided", "alpha times the sum over the window, the paper's convention, in place of the mean",
            "output", _LRN, {"divisor": lambda self, x: right(self).divisor(x) * self.size}),
    Mistake("window-on-the-other-side", "an even window reaches further up in place of down, as ONNX's does", "output",
            _LRN, {"window": lambda self: right(self).window()[::-1]}),
    Mistake("window-too-wide", "size channels on each side", "output", _LRN,
            {"window": lambda self: (self.size, self.size)}),
    Mistake("window-of-one", "only the channel itself", "output", _LRN, {"window": lambda _self: (0, 0)}),
    Mistake("edges-averaged-over-present", "at the first and last channels the mean runs over the channels there are",
            "output", _LRN, {"divisor": _mean_over_present}),
    Mistake("k-ignored", "the base starts at 1 whatever k says", "output", _LRN,
            {"base": lambda self, square: 1 + self.alpha * square}),
    Mistake("square-root-for-beta", "a square root whatever beta says", "output", _LRN,
            {"exponent": lambda self: self.real(0.5)}),
    Mistake("magnitudes-for-squares", "sums |x| in place of x^2", "output", _LRN,
            {"divisor": lambda self, x: self.windowed(np.abs(x), *self.window()) / self.size}),
    Mistake("response-grad-without-window", "the gradient treats the divisor as a constant", "grad_input", _LRN,
            {"input_gradient": lambda _self, _x, gy, a, beta: gy * a**-beta}),
    Mistake("response-grad-window-not-mirrored", "the gradient sums over the output's window in place of the input's",
            "grad_input", _LRN, {"input_gradient": _window_not_mirrored}),
)  # fmt: skip
