r"""Local response normalisation (Krizhevsky, Sutskever and Hinton 2012, section 3.3; torch.nn.LocalResponseNorm).

.. math::
    a_c = k + \frac{\alpha}{size} \sum_{j \in W(c)} x_j^2, \qquad y_c = x_c\, a_c^{-\beta}, \qquad
    W(c) = \{c - \lfloor size/2 \rfloor, \dots, c + \lfloor (size-1)/2 \rfloor\}

.. math::
    \bar x_i = \bar y_i a_i^{-\beta}
    - \frac{2\alpha\beta}{size}\, x_i \sum_{j:\, i \in W(j)} \bar y_j x_j a_j^{-\beta-1}

The divisor is ``size`` even where the window hangs over the first or last channel (torch 2.13; the paper's alpha is
torch's alpha / size).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Mode, Quantity
from references.layer import Layer
from references.rounding import STORAGE, Precision

Array = NDArray[Any]


class LocalResponseNorm(Layer):
    """x: (N, C, *spatial) and y alike; no parameters, no buffers."""

    def __init__(self, args: Mapping[str, Any], dtype: str, param_dtype: str, precision: Precision) -> None:
        super().__init__(args, dtype, param_dtype, precision)
        self.size = int(args["size"])
        self.alpha, self.beta, self.k = (self.real(args[name]) for name in ("alpha", "beta", "k"))

    # ---- the definition --------------------------------------------------------------------------------------------

    def window(self) -> tuple[int, int]:
        """How many channels the window reaches below and above its own."""
        return self.size // 2, (self.size - 1) // 2

    def windowed(self, terms: Array, below: int, above: int) -> Array:
        """The sum over channels c - below .. c + above of an array (N, C, *spatial)."""
        channels = terms.shape[1]
        total = np.zeros_like(terms)
        for offset in range(-below, above + 1):
            low, high = max(0, -offset), min(channels, channels - offset)
            if low < high:
                total[:, low:high] += terms[:, low + offset : high + offset]
        return total

    def divisor(self, x: Array) -> Array:
        """The mean square over the window, a mean over ``size`` even at the edges."""
        return self.windowed(x * x, *self.window()) / self.size

    def base(self, square: Array) -> Array:
        return self.k + self.alpha * square

    def exponent(self) -> Any:
        return self.beta

    def input_gradient(self, x: Array, gy: Array, a: Array, beta: Any) -> Array:
        below, above = self.window()
        reached = self.windowed(gy * x * a ** (-beta - 1), above, below)
        return gy * a**-beta - 2 * self.alpha * beta / self.size * x * reached

    # ---- one step --------------------------------------------------------------------------------------------------

    def terms(self, shape: tuple[int, ...]) -> int:
        """The channels of a window."""
        return self.size

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        """x, gy: (N, C, *spatial)."""
        p = self.precision
        U, t, A = p.U, p.t, p.A(self.size)
        below, above = self.window()
        square, beta = self.divisor(x), self.exponent()
        a = self.base(square)
        da = np.abs(self.alpha) * (U * (A + 4) * np.abs(square) + t) + U * np.abs(a)
        h = np.abs(da / a)
        poisoned = ~np.isfinite(square)
        unknown = (~(h < 0.5) | (self.size * square > p.compute.max / 8)) & ~poisoned
        safe = np.where(h < 0.5, h, 0)
        # A power is good to a few ulp, and the error of its base is raised with it.  Where the compute format cannot
        # hold beta (0.7 in float32), the rounded exponent beta' moves it by about 1 + (beta - beta') log a.
        misfit = np.where(
            poisoned, 0, np.abs(beta - self.real(np.asarray(beta).astype(STORAGE[p.compute.name]))) * np.abs(np.log(a))
        )
        rho = np.expm1(-np.abs(beta) * np.log1p(-safe)) + 4 * U + p.K * misfit
        y = x * a**-beta
        # the power itself may fall among the subnormal numbers, where it is good to t alone, and is then multiplied
        dy = np.abs(y) * (rho + 2 * U) + (np.abs(x) + 1) * t

        rho_next = np.expm1(-(np.abs(beta) + 1) * np.log1p(-safe)) + 4 * U + p.K * misfit
        terms = np.abs(gy * x * a ** (-beta - 1))
        factor = 2 * np.abs(self.alpha * beta) / self.size * np.abs(x)
        dreached = self.windowed(terms * (rho_next + U * (A + 4)) + (np.abs(gy * x) + 1) * t, above, below)
        reached = self.windowed(terms, above, below)
        gx = self.input_gradient(x, gy, a, beta)
        dgx = np.abs(gy * a**-beta) * (rho + 3 * U) + factor * (dreached + 4 * U * reached) + U * np.abs(gx)
        dgx = dgx + (np.abs(gy) + 1) * t
        near = self.windowed(unknown.astype(x.dtype), above, below) > 0
        return {
            "output": self._quantity(y, np.where(poisoned, 0, dy), unknown),
            "grad_input": self._quantity(gx, np.where(np.isnan(gx), 0, dgx), unknown | near),
        }

    def _quantity(self, value: Array, scale: Array, unknown: Array) -> Quantity:
        if not unknown.any():
            return Quantity(value, scale, self.dtype)
        return Quantity(value, np.where(unknown, self.real(np.inf), scale), self.dtype, unknown)
