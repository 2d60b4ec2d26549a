r"""Layer normalisation (Ba, Kiros and Hinton 2016, equations 3 and 4; torch.nn.LayerNorm).

The slices are what the leading axes index; statistics run over the trailing axes, the ``normalized_shape``, and every
element of them has its own weight and bias.
"""

from __future__ import annotations

from math import prod

from references.fold import Fold
from references.normalisation import Normalisation


class LayerNorm(Normalisation):
    """x: (*leading, *normalized_shape) and y alike; weight and bias: normalized_shape."""

    def fold(self, shape: tuple[int, ...]) -> Fold:
        leading = len(shape) - len(self.args["normalized_shape"])
        return Fold(shape, tuple(range(len(shape))), prod(shape[:leading]), tuple(range(leading, len(shape))))
