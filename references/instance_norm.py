r"""Instance normalisation (Ulyanov, Vedaldi and Lempitsky 2016, equation 2; torch.nn.InstanceNorm1d/2d/3d).

The slices are the channels of each sample, n = prod(spatial).  Running statistics, where they are tracked, move
towards the average over the batch of the per-sample statistics; ``num_batches_tracked`` exists and never counts.
"""

from __future__ import annotations

from math import prod

from references.fold import Fold
from references.running import Running


class InstanceNorm(Running):
    """x: (N, C, *spatial), or (C, *spatial) unbatched, and y alike; weight, bias and running buffers: (C,)."""

    counts_batches = False
    spatial: int

    def fold(self, shape: tuple[int, ...]) -> Fold:
        kept = len(shape) - self.spatial
        return Fold(shape, tuple(range(len(shape))), prod(shape[:kept]), (kept - 1,))


class InstanceNorm1d(InstanceNorm):
    """x: (N, C, L) or (C, L)."""

    spatial = 1


class InstanceNorm2d(InstanceNorm):
    """x: (N, C, H, W) or (C, H, W)."""

    spatial = 2


class InstanceNorm3d(InstanceNorm):
    """x: (N, C, D, H, W) or (C, D, H, W)."""

    spatial = 3
