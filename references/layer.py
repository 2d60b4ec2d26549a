r"""What layers without buffers have in common, and the error of a sum of products.

A sum of n products, in any order and with or without fused multiply-adds, is off by at most

.. math::
    d\Big(\sum_i a_i b_i\Big) = U A(n) \sum_i |a_i| |b_i| + n t

(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1); U, A and t are those of
references.rounding.  An element of it that is NaN or infinite in the reference is decided by its class.  Where the sum
of magnitudes comes near the largest number of the compute format nothing is promised, since a partial sum may overflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Expected, Mode, Quantity
from references.rounding import Precision

Array = NDArray[Any]


class Layer:
    """The reference of a layer that is a function of its input and parameters alone.

    args: the constructor arguments, complete, under torch's names.
    dtype: storage format of input and output; param_dtype: of parameters.
    precision: how a backend may compute.
    """

    def __init__(self, args: Mapping[str, Any], dtype: str, param_dtype: str, precision: Precision) -> None:
        self.args = args
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.real = precision.reference.type

    def initial(self, buffers: Mapping[str, Array]) -> dict[str, Quantity]:
        """There is no state."""
        return {}

    def step(
        self, x: Array, grad_output: Array, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode
    ) -> Expected:
        """One forward and backward.

        x: the layer's input; grad_output: of the shape of its output.  params: ``weight`` and ``bias``, or fewer.
        """
        wide = self.precision.reference
        with np.errstate(all="ignore"):
            quantities = self.quantities(
                x.astype(wide), grad_output.astype(wide), {name: p.astype(wide) for name, p in params.items()}, mode
            )
        unknown = quantities["output"].undetermined
        share = float(unknown.mean()) if unknown is not None and unknown.size else 0.0
        return Expected(quantities, {}, n=self.terms(x.shape), undetermined_slices=share)

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        """``output``, ``grad_input`` and ``grad.NAME`` of every parameter, from arrays in the reference dtype."""
        raise NotImplementedError

    def terms(self, shape: tuple[int, ...]) -> int:
        """How many products are summed into one element of the output."""
        return 1

    # ---- values with their allowed errors ---------------------------------------------------------------------------

    def exact(self, value: Array) -> Quantity:
        """A value that is copied, not computed."""
        return Quantity(value, np.zeros(value.shape, self.precision.reference), self.dtype)

    def rounded(self, value: Array, error: Array, stored: str = "") -> Quantity:
        """A value with the error that it may have before it is rounded on store."""
        scale: Array = np.where(np.isfinite(value), error, self.real(0))
        return Quantity(value, scale, stored or self.dtype)

    def summed(self, value: Array, magnitudes: Array, n: float, stored: str = "") -> Quantity:
        """A sum of n products whose absolute values add up to ``magnitudes``."""
        p = self.precision
        found = self.rounded(value, p.U * p.A(int(n)) * magnitudes + n * p.t, stored)
        beyond = np.isfinite(value) & (magnitudes > p.reach.max / 8)
        if not beyond.any():
            return found
        return Quantity(value, np.where(beyond, self.real(np.inf), found.scale), found.stored, beyond)
