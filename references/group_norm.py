r"""Group normalisation (Wu and He 2018, equation 7; torch.nn.GroupNorm).

The slices are groups of C / num_groups neighbouring channels of each sample, n = C / num_groups * prod(spatial).
"""

from __future__ import annotations

from references.fold import Fold
from references.normalisation import Normalisation


class GroupNorm(Normalisation):
    """x: (N, C, *spatial) and y alike; weight and bias: (C,)."""

    def fold(self, shape: tuple[int, ...]) -> Fold:
        return Fold(shape, tuple(range(len(shape))), shape[0] * int(self.args["num_groups"]), (1,))
