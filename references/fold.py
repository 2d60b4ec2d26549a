"""How an array is folded into slices that are normalised independently, and how parameters lie across it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Fold:
    """A bijection between an array of ``shape`` and its (slices, elements) form.

    shape: of the input.
    order: permutation of the axes that brings the kept axes to the front.
    slices: number of independently normalised slices; ``elements`` of each follow from the shape.
    parameter_axes: axes of the input along which the parameters vary, in the order of the parameter's own axes.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    slices: int
    parameter_axes: tuple[int, ...]

    @property
    def elements(self) -> int:
        """n, the number of elements in one slice."""
        if self.slices:
            return prod(self.shape) // self.slices
        return 0

    @property
    def terms(self) -> int:
        """m_p, the number of elements summed into one entry of a parameter's gradient."""
        return prod(size for axis, size in enumerate(self.shape) if axis not in self.parameter_axes)

    def fold(self, x: Array) -> Array:
        """(*shape) -> (slices, elements)."""
        return x.transpose(self.order).reshape(self.slices, self.elements)

    def unfold(self, folded: Array) -> Array:
        """(slices, elements), or anything that broadcasts to it -> (*shape)."""
        whole = (self.slices, self.elements)
        full = folded if folded.shape == whole else np.broadcast_to(folded, whole)
        kept_first, back = _unfolding(self.shape, self.order)
        return full.reshape(kept_first).transpose(back)

    def spread(self, parameter: Array) -> Array:
        """A parameter at every element that it applies to: (*parameter) -> (slices, elements)."""
        sizes = [size if axis in self.parameter_axes else 1 for axis, size in enumerate(self.shape)]
        return self.fold(np.broadcast_to(parameter.reshape(sizes), self.shape))

    def gather(self, folded: Array) -> Array:
        """The sum over everything that shares one entry of a parameter: (slices, elements) -> (*parameter)."""
        total: Array = np.add.reduce(self.unfold(folded), axis=_others(len(self.shape), self.parameter_axes))
        return total

    def gather_any(self, folded: Array) -> Array:
        """Like gather, for conditions: whether any element that shares the entry has it."""
        return np.asarray(self.unfold(folded).any(axis=_others(len(self.shape), self.parameter_axes)))


@cache
def _unfolding(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The permuted shape, and the permutation that undoes the order."""
    return tuple(shape[axis] for axis in order), tuple(order.index(axis) for axis in range(len(order)))


@cache
def _others(rank: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that are not among these."""
    return tuple(axis for axis in range(rank) if axis not in axes)
