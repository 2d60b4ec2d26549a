r"""Dropout (Srivastava et al. 2014, section 4; torch.nn.Dropout, Dropout1d, Dropout2d, torch 2.13 documentation).

In training every unit is kept with probability 1 - p, independently of all others and of all other calls; in eval mode
nothing happens.  With the mask m, which is 1 for what is kept:

.. math::
    m \sim \mathrm{Bernoulli}(1 - p), \qquad y = \frac{m}{1 - p}\, x, \qquad \bar x = \frac{m}{1 - p}\, \bar y

A unit is an element; Dropout1d and Dropout2d drop whole channels (Tompson et al. 2015, section 3.2).  The mask is the
same forward and backward.  p = 1 drops everything: output and gradient are 0.

What one call gives is random, so ``step`` shows one draw, with a mask of its own, and ``given`` what follows from the
mask that somebody's output shows: kept values are products with one constant, so that they round once in the constant
and once in the product, d(y) = 2 U |y|, and not at all where 1 / (1 - p) is a power of two.  Whether such masks follow
their law is not for one call to say (conformance.judge.law).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from math import frexp, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Expected, Mode, Quantity
from references.layer import Layer

Array = NDArray[Any]


class Dropout(Layer):
    """x and y of any shape."""

    def unit_axes(self, shape: tuple[int, ...]) -> int:
        """How many leading axes tell the units apart; the elements of a unit share their fate."""
        return len(shape)

    @property
    def p(self) -> float:
        return float(self.args["p"])

    # ---- the definition ---------------------------------------------------------------------------------------------

    def mask(self, x: Array) -> Array:
        """A draw that depends on the data alone: True for what is kept, one per unit, shaped to broadcast with x."""
        shape = unit_shape(x.shape, self.unit_axes(x.shape))
        seed = int.from_bytes(sha256(x.astype(np.float64).tobytes()).digest()[:8], "little")
        return np.random.Generator(np.random.PCG64(seed)).random(shape) >= self.p

    def factor(self) -> Any:
        """What kept values are multiplied by."""
        return self.real(0) if self.p == 1 else 1 / (1 - self.real(self.p))

    def drops(self, mode: Mode) -> bool:
        return mode == "train" and self.p > 0

    def value(self, x: Array, mask: Array) -> Array:
        return x * np.where(mask, self.factor(), self.real(0))

    def gradient(self, gy: Array, mask: Array) -> Array:
        return gy * np.where(mask, self.factor(), self.real(0))

    # ---- values and errors ------------------------------------------------------------------------------------------

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        if not self.drops(mode):
            return {"output": self.exact(x), "grad_input": self.exact(gy)}
        return self._dropped(x, gy, self.mask(x))

    def _dropped(self, x: Array, gy: Array, mask: Array) -> dict[str, Quantity]:
        return {
            "output": self._scaled(self.value(x, mask)),
            "grad_input": self._scaled(self.gradient(gy, mask)),
        }

    def _scaled(self, value: Array) -> Quantity:
        if self.p < 1 and frexp(1 - self.p)[0] == 0.5:  # the product is exact
            return self.exact(value)
        return self.rounded(value, 2 * self.precision.U * np.abs(value) + self.precision.t)

    # ---- from somebody's output -------------------------------------------------------------------------------------

    def shown(self, x: Array, arrays: Mapping[str, Array]) -> tuple[Array, Array]:
        """The mask that an output shows, and where it shows one; both one per unit, shaped to broadcast with x.

        arrays: ``output`` and, where it is known, ``grad_input``.  A unit is kept if any of its elements is; a unit
        whose x is 0 throughout shows itself in the gradient alone.
        """
        axes = tuple(range(self.unit_axes(x.shape), x.ndim))
        visible = x != 0
        kept = visible & (arrays["output"] != 0)
        if "grad_input" in arrays:
            kept |= ~visible & (arrays["grad_input"] != 0)
        seen = visible.any(axis=axes, keepdims=True)
        return np.asarray(kept.any(axis=axes, keepdims=True)), np.asarray(seen)

    def given(self, x: Array, grad_output: Array, arrays: Mapping[str, Array], mode: Mode) -> Expected:
        """What a step must give whose mask is the one that its own output shows."""
        wide = self.precision.reference
        if not self.drops(mode) or arrays["output"].shape != x.shape:
            return self.step(x, grad_output, {}, {}, mode)
        with np.errstate(all="ignore"):
            mask, _ = self.shown(x, arrays)
            return Expected(self._dropped(x.astype(wide), grad_output.astype(wide), mask), {}, n=1)


class ChannelDropout(Dropout):
    """Whole channels are kept or dropped."""

    batched: int  # axes of an input with a batch

    def unit_axes(self, shape: tuple[int, ...]) -> int:
        return 1 if len(shape) < self.batched else 2


class Dropout1d(ChannelDropout):
    """x: (N, C, L) or (C, L), and y alike."""

    batched = 3


class Dropout2d(ChannelDropout):
    """x: (N, C, H, W) or (N, C, L), which torch takes for a batch of one-dimensional channels, and y alike."""

    batched = 3


def unit_shape(shape: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """One entry for each unit, in as many axes as the input has."""
    return (*shape[:axes], *(1 for _ in shape[axes:]))


def units(shape: tuple[int, ...], axes: int) -> int:
    """How many independent draws one call makes."""
    return prod(shape[:axes])
