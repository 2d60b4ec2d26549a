r"""Root mean square normalisation (Zhang and Sennrich 2019, equation 4; torch.nn.RMSNorm).

.. math:: y_i = w_i \frac{x_i}{\sqrt{\frac1n \sum x_j^2 + \epsilon}}

Nothing is centred: m = 0, v = mean(x^2) and S1 = 0.  With ``eps=None`` torch takes the machine epsilon of the format
in which it computes: 2^-52 for float64, 2^-23 for float32, bfloat16 and float16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.fold import Fold
from references.layer_norm import LayerNorm

Array = NDArray[Any]


class RMSNorm(LayerNorm):
    """x: (*leading, *normalized_shape) and y alike; weight: normalized_shape."""

    centred = False

    @property
    def eps(self) -> float:
        given = self.args["eps"]
        return (2.0**-52 if self.dtype == "float64" else 2.0**-23) if given is None else float(given)

    def statistics(self, x: Array, fold: Fold) -> tuple[Array, Array]:
        zero = np.zeros((x.shape[0], 1), x.dtype)
        return zero, (x * x).mean(axis=1, keepdims=True) if x.shape[1] else zero

    def centre(self, x: Array, m: Array, *, constant: bool) -> Array:
        return x
