"""Changes of shape, which move no number (torch.nn.Flatten, torch 2.13 documentation; ONNX Reshape and its like).

The axes ``start_dim`` to ``end_dim``, both included and counted from the end where negative, become one; the elements
keep their row-major order.  Values and gradients are the same numbers, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from numpy.typing import NDArray

from references.expected import Mode, Quantity
from references.layer import Layer

Array = NDArray[Any]


class Reshape(Layer):
    """x: any shape -> ``args["shape"]``, which is complete."""

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.args["shape"])

    def value(self, x: Array) -> Array:
        return x.reshape(self.shape(x.shape))

    def gradient(self, gy: Array, shape: tuple[int, ...]) -> Array:
        return gy.reshape(shape)

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        return {
            "output": self.exact(self.value(x)),
            "grad_input": self.exact(self.gradient(gy, x.shape)),
        }


class Flatten(Reshape):
    """x: (*left, *flattened, *right) -> (*left, prod(flattened), *right)."""

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        start, end = (int(self.args[name]) % len(given) for name in ("start_dim", "end_dim"))
        return (*given[:start], prod(given[start : end + 1]), *given[end + 1 :])
