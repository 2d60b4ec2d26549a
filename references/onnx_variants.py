r"""Where ONNX defines a layer otherwise than torch does.

BatchNormalization in training mode (operator versions 14 and 15): the momentum weighs the old value, and the running
variance takes in the biased variance:

.. math::
    r_m \leftarrow \mu\, r_m + (1 - \mu)\, m, \qquad r_v \leftarrow \mu\, r_v + (1 - \mu)\, v

LRN (operator versions 1 and 13): of an even window the longer half lies above the channel, not below it:
:math:`W(c) = \{c - \lfloor (size-1)/2 \rfloor, \dots, c + \lceil (size-1)/2 \rceil\}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from references.batch_norm import BatchNorm
from references.expected import Mode, Quantity
from references.local_response_norm import LocalResponseNorm
from references.normalisation import Forward

Array = NDArray[Any]


class OnnxBatchNormalization(BatchNorm):
    """x: (N, C, *spatial) -> (N, C, *spatial); scale, B, mean and variance: (C,).  Batches are not counted."""

    counts_batches = False

    def momentum(self, batches: int) -> Any:
        return 1 - super().momentum(batches)

    def stored_variance(self, v: Array, n: int) -> Array:
        return v

    def update(self, f: Forward, state: Mapping[str, Quantity], mode: Mode) -> dict[str, Quantity]:
        after = super().update(f, state, mode)
        del after["num_batches_tracked"]
        return after


class OnnxLRN(LocalResponseNorm):
    """x: (N, C, *spatial) and y alike; ``k`` is ONNX's ``bias``."""

    def window(self) -> tuple[int, int]:
        return (self.size - 1) // 2, self.size // 2
