r"""Elementwise activations (torch.nn.ReLU, Sigmoid and Tanh, torch 2.13 documentation).

.. math::
    \text{ReLU: } y = \max(x, 0), \quad \bar x = \bar y\,[x > 0] \qquad
    \text{sigmoid: } y = \frac{1}{1 + e^{-x}}, \quad \bar x = \bar y\, y (1 - y) \qquad
    \tanh: \bar x = \bar y\,(1 - y^2)

ReLU selects and is exact.  Its gradient at exactly 0, of either sign, is 0; a NaN passes forward, and backward it lets
the gradient through, since torch asks ``y <= 0``.  Infinities are values like others: ReLU(inf) = inf with gradient
:math:`\bar y`, sigmoid(inf) = 1, sigmoid(-inf) = 0, tanh(+-inf) = +-1, all three with gradient 0.

Sigmoid and tanh are compositions of an exponential, additions and a division, each good to a few units in the last
place: :math:`d(y) = 4 U |y| + t`, relative, also far in the tails, since their input is exact.  Their backward pass
starts from the output *as it was stored*, so with :math:`e = d(y) + u |y| + \eta`

.. math::
    d(\bar x) = |\bar y|\,(|1 - 2y|\, e + e^2 + U y^2) + 4 U |\bar x| + t \quad\text{(sigmoid)}, \qquad
    d(\bar x) = |\bar y|\,(2 |y|\, e + e^2 + U y^2) + 4 U |\bar x| + t \quad\text{(tanh)}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Mode, Quantity
from references.layer import Layer

Array = NDArray[Any]


class ReLU(Layer):
    """x and y of any shape."""

    def value(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def gradient(self, x: Array, gy: Array) -> Array:
        return np.where(x <= 0, self.real(0), gy)

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        return {"output": self.exact(self.value(x)), "grad_input": self.exact(self.gradient(x, gy))}


class Squashing(Layer):
    """x and y of any shape; a smooth function whose gradient is computed from its output."""

    def value(self, x: Array) -> Array:
        raise NotImplementedError

    def gradient(self, x: Array, gy: Array) -> Array:
        raise NotImplementedError

    def slope(self, y: Array) -> Array:
        """How the derivative moves with the output that it is computed from, |d(derivative)/dy|."""
        raise NotImplementedError

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        p = self.precision
        y, gx = self.value(x), self.gradient(x, gy)
        size = np.abs(y)
        dy = 4 * p.U * size + p.t
        e = dy + p.stored.u * size + p.stored.eta
        dgx = np.abs(gy) * (self.slope(y) * e + e * e + p.U * y * y) + 4 * p.U * np.abs(gx) + p.t
        return {"output": self.rounded(y, dy), "grad_input": self.rounded(gx, dgx)}


class Sigmoid(Squashing):
    """1 / (1 + exp(-x)); 1 - y is formed without cancellation."""

    def value(self, x: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-x)))

    def gradient(self, x: Array, gy: Array) -> Array:
        return gy * (1 / (1 + np.exp(-x))) * (1 / (1 + np.exp(x)))

    def slope(self, y: Array) -> Array:
        return np.abs(1 - 2 * y)


class Tanh(Squashing):
    """tanh x; 1 - y^2 = 1 / cosh^2 x is formed without cancellation."""

    def value(self, x: Array) -> Array:
        return np.tanh(x)

    def gradient(self, x: Array, gy: Array) -> Array:
        return gy / np.cosh(x) ** 2

    def slope(self, y: Array) -> Array:
        return 2 * np.abs(y)
