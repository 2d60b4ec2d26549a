r"""Batch normalisation (Ioffe and Szegedy 2015, algorithm 1 and section 3.1; torch.nn.BatchNorm1d/2d/3d).

The slices are the channels: statistics run over the batch and all spatial axes, n = N * prod(spatial).
"""

from __future__ import annotations

from references.fold import Fold
from references.running import Running


class BatchNorm(Running):
    """x: (N, C, *spatial) -> (N, C, *spatial); weight, bias and running buffers: (C,)."""

    def fold(self, shape: tuple[int, ...]) -> Fold:
        return Fold(shape, (1, 0, *range(2, len(shape))), shape[1], (1,))
