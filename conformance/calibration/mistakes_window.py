"""Mistakes in local response normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.calibration.window import WindowLayer

Array = NDArray[Any]


class _AlphaNotDivided(WindowLayer):
    def square(self, x: Array) -> Array:
        return super().square(x) * self.size


class _OtherSide(WindowLayer):
    def window(self) -> tuple[int, int]:
        below, above = super().window()
        return above, below


class _TooWide(WindowLayer):
    def window(self) -> tuple[int, int]:
        return self.size, self.size


class _OverPresent(WindowLayer):
    def square(self, x: Array) -> Array:
        present = self.windowed(np.ones_like(x), *self.window())
        return self.windowed(x * x, *self.window()) / present


class _ForgottenK(WindowLayer):
    def base(self, x: Array) -> Array:
        return self.real(1) + self.alpha * self.square(x)


class _SquareRoot(WindowLayer):
    def exponent(self) -> Any:
        return self.real(0.5)


class _GradWithoutWindow(WindowLayer):
    def input_gradient(self, x: Array, gy: Array, a: Array) -> Array:
        return gy * self.power(a, self.beta)


WINDOW: dict[str, type[WindowLayer]] = {
    "alpha-not-divided": _AlphaNotDivided,
    "window-on-the-other-side": _OtherSide,
    "window-too-wide": _TooWide,
    "edges-averaged-over-present": _OverPresent,
    "k-ignored": _ForgottenK,
    "square-root-for-beta": _SquareRoot,
    "response-grad-without-window": _GradWithoutWindow,
}
