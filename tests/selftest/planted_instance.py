"""Wrong instance and group normalisations."""

from __future__ import annotations

import torch
from layers import Group, Instance, wide


class Flat(Instance):
    spatial = 1


class Deep(Instance):
    spatial = 3


class OverBatch(Instance):
    def moments(self, x):
        axes = [0, *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True)
        var = (x - mean).square().mean(axes, keepdim=True)
        return (each.expand(x.shape[0], *each.shape[1:]) for each in (mean, var))


class OverChannels(Instance):
    def moments(self, x):
        axes = list(range(1, x.dim()))
        mean = x.mean(axes, keepdim=True)
        var = (x - mean).square().mean(axes, keepdim=True)
        return (each.expand(x.shape[0], x.shape[1], *each.shape[2:]) for each in (mean, var))


class UnbiasedInstance(Instance):
    def moments(self, x):
        axes = list(range(2, x.dim()))
        return x.mean(axes, keepdim=True), x.var(axes, keepdim=True)

    def unbiased(self, var, n):
        return var


class CountsBatches(Flat):
    def forward(self, x):
        if self.training and self.tracks and x.dim() == self.spatial + 2:
            self.num_batches_tracked += 1
        return super().forward(x)


class BiasedInstance(Flat):
    def unbiased(self, var, n):
        return var


class LastSample(Instance):
    def over_samples(self, per_sample):
        return per_sample.flatten(1)[-1]


class KerasInstance(Deep):
    def moved(self, old, new, weight):
        return weight * old + (1 - weight) * new


class AlwaysBatch(Deep):
    def uses_batch(self):
        return True


class EpsSquared(Instance):
    def inverse_std(self, var):
        return torch.rsqrt(var + self.eps**2)


class Interleaved(Group):
    """Groups of every num_groups-th channel."""

    def forward(self, x):
        if not x.numel():
            return super().forward(x)
        X = wide(x)
        N, C = X.shape[:2]
        groups = X.reshape(N, C // self.num_groups, self.num_groups, -1).transpose(1, 2)
        mean = groups.mean((2, 3), keepdim=True)
        var = (groups - mean).square().mean((2, 3), keepdim=True)
        xhat = ((groups - mean) * self.inverse_std(var)).transpose(1, 2).reshape(X.shape)
        return self.scale_and_shift(xhat).to(x.dtype)


class OneGroup(Group):
    def grouped(self, x):
        return x.reshape(x.shape[0], 1, -1)


class OwnGroups(Group):
    def grouped(self, x):
        return x.reshape(x.shape[0], x.shape[1], -1)


class UnbiasedGroup(Group):
    def moments(self, grouped):
        return grouped.mean(-1, keepdim=True), grouped.var(-1, keepdim=True)


class EpsOutsideGroup(Group):
    def inverse_std(self, var):
        return 1 / (var.sqrt() + self.eps)


class PadsToEight(Group):
    """Pads with zeros and divides by the padded length."""

    def moments(self, grouped):
        length = -(-grouped.shape[-1] // 8) * 8
        mean = grouped.sum(-1, keepdim=True) / grouped.shape[-1]
        var = (grouped - mean).square().sum(-1, keepdim=True) / length
        return grouped.sum(-1, keepdim=True) / length, var


class NeighboursWeight(Group):
    def scale_and_shift(self, xhat):
        if self.weight is None:
            return xhat
        y = xhat * self.along(self.weight.roll(1), xhat)
        return y if self.bias is None else y + self.along(self.bias, xhat)


class SubtractsBias(Group):
    def scale_and_shift(self, xhat):
        if self.weight is not None:
            xhat = xhat * self.along(self.weight, xhat)
        return xhat if self.bias is None else xhat - self.along(self.bias, xhat)


PLANTED = (
    ("InstanceNorm2d", OverBatch, "instance-norm-over-batch"),
    ("InstanceNorm2d", OverChannels, "instance-norm-over-channels"),
    ("InstanceNorm2d", UnbiasedInstance, "unbiased-variance"),
    ("InstanceNorm1d", CountsBatches, "batches-counted"),
    ("InstanceNorm1d", BiasedInstance, "running-var-biased"),
    ("InstanceNorm2d", LastSample, "instance-statistics-of-last-sample"),
    ("InstanceNorm3d", KerasInstance, "momentum-swapped"),
    ("InstanceNorm3d", AlwaysBatch, "batch-statistics-in-eval"),
    ("InstanceNorm2d", EpsSquared, "eps-squared"),
    ("GroupNorm", Interleaved, "groups-interleaved"),
    ("GroupNorm", OneGroup, "groups-ignored"),
    ("GroupNorm", OwnGroups, "groups-of-one"),
    ("GroupNorm", UnbiasedGroup, "unbiased-variance"),
    ("GroupNorm", EpsOutsideGroup, "eps-outside-sqrt"),
    ("GroupNorm", PadsToEight, "padding-counted"),
    ("GroupNorm", NeighboursWeight, "weight-of-the-neighbour"),
    ("GroupNorm", SubtractsBias, "bias-subtracted"),
)
