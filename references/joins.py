r"""Where two tensors of a network meet: addition, and concatenation.

.. math::
    y = x + o, \quad \bar x = \bar y \qquad\text{and}\qquad y = [x; o_1; \dots; o_k] \text{ along one axis}, \quad
    [\bar x; \dots] = \bar y

A sum is rounded once in the compute format, d(y) = U |y| + t; a concatenation is exact (ONNX Add and Concat; torch.add
and torch.cat, torch 2.13 documentation).  What x meets stands among the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Mode, Quantity
from references.layer import Layer

Array = NDArray[Any]


class Add(Layer):
    """x + other, where ``other`` broadcasts to the shape of x or the other way round."""

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        y = x + params["other"]
        found = {"output": self.rounded(y, self.precision.U * np.abs(y) + self.precision.t)}
        if y.shape == x.shape:
            found["grad_input"] = self.exact(gy)
        return found


class Concat(Layer):
    """x and all parameters, in their order, side by side along ``args["axis"]``."""

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        axis = int(self.args["axis"]) % x.ndim
        return {
            "output": self.exact(np.concatenate([x, *params.values()], axis=axis)),
            "grad_input": self.exact(np.take(gy, range(x.shape[axis]), axis=axis)),
        }
