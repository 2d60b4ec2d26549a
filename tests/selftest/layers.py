"""Normalisation layers written by hand, right, in the way of a person who knows the formula: the soil to plant in.

Everything is computed in float32 (float64 stays) and rounded once, and torch differentiates it.
"""

# ruff: noqa: FBT002 - the signatures are torch's
from __future__ import annotations

import torch
from torch import nn


def wide(x):
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class Affine(nn.Module):
    """Weight and bias, or neither."""

    def make(self, shape, affine, bias):
        self.weight = nn.Parameter(torch.ones(shape)) if affine else None
        self.bias = nn.Parameter(torch.zeros(shape)) if affine and bias else None

    def along(self, p, x):
        """A parameter in the shape in which it meets x: along the channels."""
        return wide(p).reshape(1, -1, *[1] * (x.dim() - 2))

    def scale_and_shift(self, xhat):
        if self.weight is not None:
            xhat = xhat * self.along(self.weight, xhat)
        if self.bias is not None:
            xhat = xhat + self.along(self.bias, xhat)
        return xhat

    def inverse_std(self, var):
        return torch.rsqrt(var + self.eps)

    def centred(self, x, mean):
        return x - mean


class Tracking(Affine):
    """Running statistics as torch keeps them."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, bias=True):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.make(num_features, affine, bias)
        self.tracks = track_running_stats
        if self.tracks:
            self.register_buffer("running_mean", torch.zeros(num_features))
            self.register_buffer("running_var", torch.ones(num_features))
            self.register_buffer("num_batches_tracked", torch.tensor(0))

    def average(self):
        """The weight of the new value."""
        return 1.0 / int(self.num_batches_tracked) if self.momentum is None else self.momentum

    def moved(self, old, new, weight):
        return (1 - weight) * old + weight * new

    def unbiased(self, var, n):
        return var * (n / (n - 1))

    @torch.no_grad()
    def remember(self, mean, var, n):
        weight = self.average()
        self.running_mean.copy_(self.moved(wide(self.running_mean), mean, weight))
        self.running_var.copy_(self.moved(wide(self.running_var), self.unbiased(var, n), weight))


class Batch(Tracking):
    """BatchNorm1d, 2d and 3d."""

    def moments(self, x):
        axes = [0, *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True)
        return mean, (x - mean).square().mean(axes, keepdim=True)

    def count(self):
        self.num_batches_tracked += 1

    def uses_batch(self):
        return self.training or not self.tracks

    def stored(self, x):
        return self.along(self.running_mean, x), self.along(self.running_var, x)

    def forward(self, x):
        X = wide(x)
        if self.training and self.tracks:
            self.count()
        if self.uses_batch():
            mean, var = self.moments(X)
            if self.training and self.tracks and X.numel():
                self.remember(mean.flatten(), var.flatten(), X.numel() // X.shape[1])
        else:
            mean, var = self.stored(X)
        return self.scale_and_shift(self.centred(X, mean) * self.inverse_std(var)).to(x.dtype)


class Instance(Tracking):
    """InstanceNorm1d, 2d and 3d; an input without a batch axis gets one."""

    spatial = 2

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False, bias=True):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def moments(self, x):
        axes = list(range(2, x.dim()))
        mean = x.mean(axes, keepdim=True)
        return mean, (x - mean).square().mean(axes, keepdim=True)

    def uses_batch(self):
        return self.training or not self.tracks

    def over_samples(self, per_sample):
        return per_sample.flatten(1).mean(0)

    def forward(self, x):
        if x.dim() == self.spatial + 1:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        X = wide(x)
        if self.uses_batch():
            mean, var = self.moments(X)
            if self.training and self.tracks and X.numel():
                self.remember(self.over_samples(mean), self.over_samples(var), X.numel() // X.shape[0] // X.shape[1])
        else:
            mean, var = self.along(self.running_mean, X), self.along(self.running_var, X)
        return self.scale_and_shift(self.centred(X, mean) * self.inverse_std(var)).to(x.dtype)


class Layer(Affine):
    """LayerNorm."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        super().__init__()
        self.normalized_shape, self.eps = tuple(normalized_shape), eps
        self.make(self.normalized_shape, elementwise_affine, bias)

    def along(self, p, x):
        return wide(p)

    def axes(self, x):
        return list(range(x.dim() - len(self.normalized_shape), x.dim()))

    def moments(self, x):
        mean = x.mean(self.axes(x), keepdim=True)
        return mean, (x - mean).square().mean(self.axes(x), keepdim=True)

    def forward(self, x):
        X = wide(x)
        mean, var = self.moments(X)
        return self.scale_and_shift(self.centred(X, mean) * self.inverse_std(var)).to(x.dtype)


class RMS(Layer):
    """RMSNorm."""

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True):
        super().__init__(normalized_shape, eps, elementwise_affine, bias=False)

    def epsilon(self, x):
        return torch.finfo(x.dtype).eps if self.eps is None else self.eps

    def mean_square(self, x):
        return x.square().mean(self.axes(x), keepdim=True)

    def forward(self, x):
        X = wide(x)
        return self.scale_and_shift(X * torch.rsqrt(self.mean_square(X) + self.epsilon(X))).to(x.dtype)


class Group(Affine):
    """GroupNorm."""

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, bias=True):
        super().__init__()
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.make(num_channels, affine, bias)

    def grouped(self, x):
        return x.reshape(x.shape[0], self.num_groups, -1)

    def moments(self, grouped):
        mean = grouped.mean(-1, keepdim=True)
        return mean, (grouped - mean).square().mean(-1, keepdim=True)

    def forward(self, x):
        if not x.numel():
            return self.scale_and_shift(wide(x)).to(x.dtype)
        groups = self.grouped(wide(x))
        mean, var = self.moments(groups)
        xhat = (self.centred(groups, mean) * self.inverse_std(var)).reshape(x.shape)
        return self.scale_and_shift(xhat).to(x.dtype)


class Response(nn.Module):
    """LocalResponseNorm."""

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def squares(self, x):
        return x * x

    def reach(self):
        return self.size // 2, (self.size - 1) // 2

    def window_mean(self, squares):
        below, above = self.reach()
        channels = squares.shape[1]
        sums = [squares[:, max(0, c - below) : c + above + 1].sum(1) for c in range(channels)]
        return torch.stack(sums, 1) / self.size

    def forward(self, x):
        X = wide(x)
        base = self.k + self.alpha * self.window_mean(self.squares(X))
        return (X / base**self.beta).to(x.dtype)
