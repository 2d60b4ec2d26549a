r"""The linear layer (torch.nn.Linear, torch 2.13 documentation).

With the rows :math:`x_i` of the input, whatever its leading axes are:

.. math::
    y_i = W x_i + b, \qquad \bar x_i = W^T \bar y_i, \qquad
    \bar W = \sum_i \bar y_i x_i^T, \qquad \bar b = \sum_i \bar y_i

Each is a sum of products, whose allowed error references.layer gives: over ``in_features`` terms and the bias for y,
over ``out_features`` for the input's gradient, over the rows for those of the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Mode, Quantity
from references.layer import Layer

Array = NDArray[Any]


class Linear(Layer):
    """x: (*, in_features) -> (*, out_features); weight: (out_features, in_features), bias: (out_features,)."""

    def terms(self, shape: tuple[int, ...]) -> int:
        return shape[-1]

    # ---- the definition, on rows ------------------------------------------------------------------------------------

    def affine(self, x: Array, w: Array, b: Array) -> Array:
        """x: (rows, in_features)."""
        return x @ w.T + b

    def input_gradient(self, gy: Array, w: Array) -> Array:
        return gy @ w

    def weight_gradient(self, x: Array, gy: Array) -> Array:
        return gy.T @ x

    def bias_gradient(self, gy: Array) -> Array:
        return np.asarray(gy.sum(axis=0))

    # ---- values and errors ------------------------------------------------------------------------------------------

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        w = params["weight"]
        b = params.get("bias", np.zeros(w.shape[0], w.dtype))
        rows, upstream = x.reshape(prod(x.shape[:-1]), w.shape[1]), gy.reshape(prod(gy.shape[:-1]), w.shape[0])
        absx, absw, absgy = np.abs(rows), np.abs(w), np.abs(upstream)
        m, inside = rows.shape[0], w.shape[1] + ("bias" in params)
        y = self.affine(rows, w, b).reshape(gy.shape)
        found = {
            "output": self.summed(y, (absx @ absw.T + np.abs(b)).reshape(gy.shape), inside),
            "grad_input": self.summed(
                self.input_gradient(upstream, w).reshape(x.shape), (absgy @ absw).reshape(x.shape), w.shape[0]
            ),
            "grad.weight": self.summed(self.weight_gradient(rows, upstream), absgy.T @ absx, m, self.param_dtype),
        }
        if "bias" in params:
            found["grad.bias"] = self.summed(self.bias_gradient(upstream), absgy.sum(axis=0), m, self.param_dtype)
        return found
