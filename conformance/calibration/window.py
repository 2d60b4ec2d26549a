r"""Local response normalisation in one floating-point format: several orders of the window's sum, several forms.

The power is NumPy's, good to an ulp or two; ``a^-beta`` and ``1 / a^beta`` round differently, and so do the two ways to
get :math:`a^{-\beta-1}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from conformance.calibration.stable import wider
from conformance.inputs import Inputs
from conformance.suite.case import Case

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class WindowForm:
    """How the window is summed and how the power is taken."""

    name: str
    order: Literal["ascending", "descending", "wider"]
    power: Literal["negative", "quotient"]


WINDOW_FORMS: tuple[WindowForm, ...] = (
    WindowForm("window, ascending, a^-beta", "ascending", "negative"),
    WindowForm("window, descending, 1/a^beta", "descending", "quotient"),
    WindowForm("window, wider sums, a^-beta", "wider", "negative"),
    WindowForm("window, ascending, 1/a^beta", "ascending", "quotient"),
)


class WindowLayer:
    """One implementation of LocalResponseNorm; a planted mistake is a subclass that overrides one formula."""

    def __init__(self, case: Case, form: WindowForm) -> None:
        self.case, self.form = case, form
        self.compute = np.dtype(np.float64 if case.dtype == "float64" else np.float32)
        self.real = self.compute.type
        self.size = int(case.args["size"])
        self.alpha, self.beta, self.k = (self.real(case.args[name]) for name in ("alpha", "beta", "k"))

    def window(self) -> tuple[int, int]:
        """How many channels the window reaches below and above its own."""
        return self.size // 2, (self.size - 1) // 2

    def windowed(self, terms: Array, below: int, above: int) -> Array:
        """The sum over channels c - below .. c + above of an array (N, C, *spatial)."""
        channels = terms.shape[1]
        total = np.zeros(terms.shape, wider(self.compute) if self.form.order == "wider" else self.compute)
        offsets = range(-below, above + 1)
        for offset in reversed(offsets) if self.form.order == "descending" else offsets:
            low, high = max(0, -offset), min(channels, channels - offset)
            if low < high:
                total[:, low:high] += terms[:, low + offset : high + offset]
        return total.astype(self.compute)

    def square(self, x: Array) -> Array:
        return self.windowed(x * x, *self.window()) / self.size

    def base(self, x: Array) -> Array:
        return self.k + self.alpha * self.square(x)

    def exponent(self) -> Any:
        return self.beta

    def power(self, a: Array, beta: Any) -> Array:
        """a^-beta."""
        return a**-beta if self.form.power == "negative" else self.real(1) / a**beta

    def input_gradient(self, x: Array, gy: Array, a: Array) -> Array:
        below, above = self.window()
        beta = self.exponent()
        steeper = self.power(a, beta) / a if self.form.power == "quotient" else a ** (-beta - self.real(1))
        reached = self.windowed(gy * x * steeper, above, below)
        factor = self.real(2) * self.alpha * beta / self.size
        return gy * self.power(a, beta) - factor * x * reached

    def run(self, inputs: Inputs) -> list[dict[str, Array]]:
        """Output and input gradient of every step, before they are rounded on store."""
        results = []
        with np.errstate(all="ignore"):
            for given in inputs.steps:
                x, gy = given.x.astype(self.compute), given.grad_output.astype(self.compute)
                a = self.base(x)
                y = x * self.power(a, self.exponent())
                results.append({"output": y, "grad_input": self.input_gradient(x, gy, a)})
        return results
