r"""Where ONNX defines a layer otherwise than torch does.

BatchNormalization in training mode (operator versions 14 and 15): the momentum weighs the old value, and the running
variance takes in the biased variance:

.. math::
    r_m \leftarrow \mu\, r_m + (1 - \mu)\, m, \qquad r_v \leftarrow \mu\, r_v + (1 - \mu)\, v

Attributes are float32: epsilon and momentum are the nearest numbers to those that are given.

In inference form, which torch.onnx.export(dynamo=True) writes of a layer in training mode too, the running statistics
that there are before the step normalise, while training goes on as the layer's own:

.. math::
    y = \gamma\, \frac{x - r_m}{\sqrt{r_v + \epsilon}} + \beta

LRN (operator versions 1 and 13): of an even window the longer half lies above the channel, not below it:
:math:`W(c) = \{c - \lfloor (size-1)/2 \rfloor, \dots, c + \lceil (size-1)/2 \rceil\}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.batch_norm import BatchNorm
from references.expected import Expected, Mode, Quantity
from references.local_response_norm import LocalResponseNorm
from references.rms_norm import RMSNorm

Array = NDArray[Any]


class OnnxBatchNormalization(BatchNorm):
    """x: (N, C, *spatial) -> (N, C, *spatial); scale, B, mean and variance: (C,).  Batches are not counted."""

    counts_batches = False

    @property
    def eps(self) -> float:
        return float(np.float32(super().eps))

    def momentum(self, batches: int) -> Any:
        return 1 - self.real(np.float32(super().momentum(batches)))

    def stored_variance(self, v: Array, n: int) -> Array:
        return v


class InferenceForm(BatchNorm):
    """x: (N, C, *spatial) and y alike: what a graph computes that holds the state of a layer that is being trained."""

    @property
    def eps(self) -> float:
        return float(np.float32(super().eps))

    def step(
        self, x: Array, grad_output: Array, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode
    ) -> Expected:
        seen = super().step(x, grad_output, params, state, "eval")
        if mode == "eval":
            return seen
        trained = super().step(x, grad_output, params, state, mode)
        after = {name: quantity for name, quantity in trained.quantities.items() if name.startswith("buffer.")}
        return replace(seen, quantities=seen.quantities | after, state=trained.state)


class RMSNormWithoutEps(RMSNorm):
    """x: (*leading, *normalized_shape) and y alike: what is left where an exporter takes a small eps for zero."""

    eps = 0.0


class OnnxLRN(LocalResponseNorm):
    """x: (N, C, *spatial) and y alike; ``k`` is ONNX's ``bias``."""

    def window(self) -> tuple[int, int]:
        return (self.size - 1) // 2, self.size // 2
