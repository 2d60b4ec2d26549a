r"""Instance normalisation (Ulyanov, Vedaldi and Lempitsky 2016, equation 2; torch.nn.InstanceNorm1d/2d/3d).

The slices are the channels of each sample, n = prod(spatial).  Running statistics, where they are tracked, move
towards the average over the batch of the per-sample statistics; ``num_batches_tracked`` exists and never counts.
"""

from __future__ import annotations

from references.fold import Fold
from references.running import Running


class InstanceNorm(Running):
    """x: (N, C, *spatial), or (C, *spatial) unbatched, and y alike; weight, bias and running buffers: (C,)."""

    counts_batches = False

    def __init__(self, *given: object, spatial: int | None = None) -> None:
        super().__init__(*given)  # type: ignore[arg-type]  # same arguments as every reference
        self.spatial = spatial

    def fold(self, shape: tuple[int, ...]) -> Fold:
        kept = len(shape) - self.spatial if self.spatial else 2
        slices = 1
        for size in shape[:kept]:
            slices *= size
        return Fold(shape, tuple(range(len(shape))), slices, (kept - 1,))
