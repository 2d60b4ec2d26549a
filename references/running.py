r"""Running statistics as torch keeps them, shared by BatchNorm and InstanceNorm.

.. math::
    r_m \leftarrow (1 - \mu)\, r_m + \mu\, m, \qquad r_v \leftarrow (1 - \mu)\, r_v + \mu\, \frac{n}{n-1}\, v

The momentum :math:`\mu` weighs the new value; with ``momentum=None`` it is 1 / num_batches_tracked, the cumulative
average.  The variance that is stored is the unbiased one, the variance that normalises is the biased one
(torch.nn.BatchNorm2d, documentation of torch 2.13).  An empty batch has no statistics: it leaves mean and variance
alone and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Mode, Quantity
from references.fold import Fold
from references.normalisation import Forward, Normalisation

Array = NDArray[Any]


class Running(Normalisation):
    """A normalisation with buffers ``running_mean``, ``running_var`` (C,) and ``num_batches_tracked`` ()."""

    counts_batches = True

    @property
    def tracks(self) -> bool:
        return bool(self.args["track_running_stats"])

    def uses_batch(self, mode: Mode) -> bool:
        """Without running statistics even eval mode normalises with the batch's own."""
        return mode == "train" or not self.tracks

    def momentum(self, batches: int) -> Any:
        """The weight of the new value, in the reference dtype; ``batches`` counts the present one."""
        given = self.args["momentum"]
        return self.real(1) / self.real(batches) if given is None else self.real(given)

    def moved(self, old: Array, new: Array, momentum: Any) -> Array:
        mu = self.real(momentum)
        return (1 - mu) * old + mu * new

    def stored_variance(self, v: Array, n: int) -> Array:
        """The unbiased variance."""
        return v * (self.real(n) / self.real(n - 1)) if n > 1 else v * self.real(np.inf)

    def running_statistics(
        self, fold: Fold, state: Mapping[str, Quantity], mode: Mode
    ) -> tuple[Quantity, Quantity] | None:
        if self.uses_batch(mode):
            return None
        copies = fold.slices // state["running_mean"].value.size if state["running_mean"].value.size else 0

        def at_slices(buffer: Quantity) -> Quantity:
            value, scale = (np.tile(array, copies)[:, None] for array in (buffer.value, buffer.scale))
            return Quantity(value, scale, buffer.stored)

        return at_slices(state["running_mean"]), at_slices(state["running_var"])

    def per_channel(self, values: Array) -> Array:
        """(slices, 1) -> (samples, C): the statistics of a batch, sample by sample where the layer keeps them apart."""
        return values.reshape(-1, int(self.args["num_features"]))

    def update(self, f: Forward, state: Mapping[str, Quantity], mode: Mode) -> dict[str, Quantity]:
        after = dict(state)
        if not self.tracks or mode != "train":
            return after
        count = state["num_batches_tracked"]
        if self.counts_batches:
            count = Quantity(count.value + 1, count.scale, "int64")
            after["num_batches_tracked"] = count
        if not f.x.size:
            return after
        momentum, n = self.momentum(int(count.value)), f.fold.elements
        mu, kept, U = self.real(momentum), abs(1 - self.real(momentum)), self.precision.U
        samples = f.fold.slices // int(self.args["num_features"])
        averaging = U * (self.precision.A(samples) + 2)
        lost = self.per_channel(f.out_of_range).any(axis=0)

        def buffer(old: Quantity, new: Array, magnitude: Array, d: Array, roundings: int) -> Quantity:
            value = self.moved(old.value, new, momentum)
            size = np.abs(old.value)
            scale = kept * old.scale + mu * d + U * (2 * size + roundings * mu * magnitude + np.abs(value))
            if samples > 1:
                scale += averaging * (kept * size + mu * magnitude)
            unknown = lost | np.isposinf(old.scale)  # an infinity stays one, or becomes NaN, whatever the momentum
            if not unknown.any():
                return Quantity(value, scale, old.stored, any_nonfinite=True)
            return Quantity(value, np.where(unknown, np.inf, scale), old.stored, unknown, any_nonfinite=True)

        mean = self.per_channel(f.m)
        variance = self.per_channel(self.stored_variance(f.v, n))
        dvariance = self.per_channel(Running.stored_variance(self, f.dv, n))
        after["running_mean"] = buffer(
            state["running_mean"],
            self.batch_mean(mean),
            _over_samples(np.abs(mean)),
            _over_samples(self.per_channel(f.dm)),
            3,
        )
        after["running_var"] = buffer(
            state["running_var"], self.batch_mean(variance), _over_samples(variance), _over_samples(dvariance), 4
        )
        return after

    def batch_mean(self, per_sample: Array) -> Array:
        """(samples, C) -> (C,): statistics kept per sample are averaged over the batch."""
        return _over_samples(per_sample)


def _over_samples(per_sample: Array) -> Array:
    """(samples, C) -> (C,)."""
    mean: Array = per_sample[0] if len(per_sample) == 1 else per_sample.mean(axis=0)
    return mean
