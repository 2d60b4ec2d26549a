"""Layers that are right and written otherwise: none of them may raise an alarm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from layers import RMS, Batch, Group, Instance, Layer, Response, wide
from planted_maps import HandConv, HandDropout, HandLinear, OwnProduct, Rounded
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Correct:
    """A right module of an op."""

    op: str
    make: Any

    @property
    def title(self) -> str:
        return f"{self.op} {self.make.__name__}"


# ---- batch normalisation --------------------------------------------------------------------------------------------


def flat(x):
    """(C, everything else)."""
    return x.transpose(0, 1).reshape(x.shape[1], -1)


class Welford(Batch):
    """One value after the other (Welford 1962)."""

    def moments(self, x):
        mean = torch.zeros_like(flat(x)[:, :1]).sum(1)
        squares = torch.zeros_like(mean)
        for count, value in enumerate(flat(x).unbind(1), 1):
            away = value - mean
            mean = mean + away / count
            squares = squares + away * (value - mean)
        n = max(flat(x).shape[1], 1)
        return self.along(mean, x), self.along(squares / n, x)


class Chan(Batch):
    """Chunks of seven values, merged pair by pair (Chan, Golub and LeVeque 1979)."""

    def moments(self, x):
        count, mean, squares = 0, 0.0, 0.0
        for chunk in flat(x).split(7, 1):
            size, own = chunk.shape[1], chunk.mean(1)
            away = own - mean
            total = count + size
            squares = squares + (chunk - own[:, None]).square().sum(1) + away * away * (count * size / max(total, 1))
            mean = mean + away * (size / max(total, 1))
            count = total
        return self.along(mean, x), self.along(squares / max(count, 1), x)


class ChannelsLastInside(Batch):
    """Works on (N * pixels, C)."""

    def forward(self, x):
        rows = x.movedim(1, -1)
        back = super().forward(rows.reshape(-1, x.shape[1]))
        return back.reshape(rows.shape).movedim(-1, 1).contiguous()


class PermutedView(Batch):
    """Hands out a view of (N, pixels, C)."""

    def forward(self, x):
        rows = x.movedim(1, -1)
        return super().forward(rows.reshape(-1, x.shape[1])).reshape(rows.shape).movedim(-1, 1)


class Fused(Batch):
    """One multiplication and one addition: y = x (w s) + (b - m w s)."""

    def forward(self, x):
        X = wide(x)
        if not X.numel():
            return super().forward(x)
        if self.training and self.tracks:
            self.count()
        if self.uses_batch():
            mean, var = self.moments(X)
            if self.training and self.tracks:
                self.remember(mean.flatten(), var.flatten(), X.numel() // X.shape[1])
        else:
            mean, var = self.stored(X)
        scale = self.inverse_std(var)
        if self.weight is not None:
            scale = scale * self.along(self.weight, X)
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.along(self.bias, X)
        return (X * scale + shift).to(x.dtype)


class Backwards(Batch):
    """Sums from the last value to the first."""

    def moments(self, x):
        axes = [0, *range(2, x.dim())]
        turned = x.flip(axes)
        mean = turned.mean(axes, keepdim=True)
        return mean, (turned - mean).square().mean(axes, keepdim=True)


class InDouble(Batch):
    def forward(self, x):
        return super().forward(x.double()).to(x.dtype)


class Rebound(Batch):
    """Puts new tensors in the place of the buffers."""

    @torch.no_grad()
    def remember(self, mean, var, n):
        weight, dtype = self.average(), self.running_mean.dtype
        self.running_mean = self.moved(wide(self.running_mean), mean, weight).to(dtype)
        self.running_var = self.moved(wide(self.running_var), self.unbiased(var, n), weight).to(dtype)

    def count(self):
        self.num_batches_tracked = self.num_batches_tracked + 1


class Lerp(Batch):
    def moved(self, old, new, weight):
        return torch.lerp(old, new, weight)


class PixelsFirst(Batch):
    """Averages over the pixels, then over the samples."""

    def moments(self, x):
        axes = list(range(2, x.dim()))
        mean = (x.mean(axes, keepdim=True) if axes else x).mean(0, keepdim=True)
        squares = (x - mean).square()
        return mean, (squares.mean(axes, keepdim=True) if axes else squares).mean(0, keepdim=True)


class Corrected(Batch):
    """The two-pass variance with the correction of Chan, Golub and LeVeque."""

    def moments(self, x):
        axes = [0, *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True)
        xc = x - mean
        return mean, xc.square().mean(axes, keepdim=True) - xc.mean(axes, keepdim=True).square()


class _Textbook(torch.autograd.Function):
    """Forward and backward by hand."""

    @staticmethod
    def forward(ctx, x, axes, eps):
        mean = x.mean(axes, keepdim=True)
        xc = x - mean
        s = torch.rsqrt(xc.square().mean(axes, keepdim=True) + eps)
        ctx.save_for_backward(xc * s, s)
        ctx.axes = axes
        return xc * s

    @staticmethod
    def backward(ctx, g):
        xhat, s = ctx.saved_tensors
        first, second = g.mean(ctx.axes, keepdim=True), (g * xhat).mean(ctx.axes, keepdim=True)
        return s * (g - first - xhat * second), None, None


class OwnBackward(Batch):
    def forward(self, x):
        X = wide(x)
        if not X.numel() or not self.uses_batch():
            return super().forward(x)
        with torch.no_grad():
            super().forward(x)
        return self.scale_and_shift(_Textbook.apply(X, [0, *range(2, x.dim())], self.eps)).to(x.dtype)


class Divides(Batch):
    def inverse_std(self, var):
        return 1 / torch.sqrt(var + self.eps)


# ---- the other norms ------------------------------------------------------------------------------------------------


class AsBatchNorm(Instance):
    """Samples become channels."""

    def moments(self, x):
        axes = list(range(2, x.dim()))
        var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return mean, var


class SampleBySample(Instance):
    def moments(self, x):
        pairs = [super(SampleBySample, self).moments(sample) for sample in x.split(1)]
        if not pairs:
            return super().moments(x)
        return torch.cat([mean for mean, _ in pairs]), torch.cat([var for _, var in pairs])


class VarMean(Layer):
    def moments(self, x):
        var, mean = torch.var_mean(x, self.axes(x), correction=0, keepdim=True)
        return mean, var


class Flattened(Layer):
    """(rows, normalized)."""

    def forward(self, x):
        if not x.numel():
            return super().forward(x)
        shape = x.shape
        rows = wide(x).reshape(shape[: x.dim() - len(self.normalized_shape)].numel(), -1)
        mean = rows.mean(1, keepdim=True)
        var = (rows - mean).square().mean(1, keepdim=True)
        return self.scale_and_shift(((rows - mean) * self.inverse_std(var)).reshape(shape)).to(x.dtype)


class OwnLayerBackward(Layer):
    def forward(self, x):
        return self.scale_and_shift(_Textbook.apply(wide(x), self.axes(x), self.eps)).to(x.dtype)


class WeightFirst(RMS):
    """(w x) r in place of w (x r)."""

    def forward(self, x):
        X = wide(x)
        scaled = X if self.weight is None else X * wide(self.weight)
        return (scaled * torch.rsqrt(self.mean_square(X) + self.epsilon(X))).to(x.dtype)


class LongestFirst(RMS):
    """Sums of eight lanes."""

    def mean_square(self, x):
        if not x.numel():
            return super().mean_square(x)
        rows = x.square().flatten(x.dim() - len(self.normalized_shape))
        padded = functional.pad(rows, (0, -rows.shape[-1] % 8))
        lanes = padded.reshape(*padded.shape[:-1], -1, 8).sum(-2).sum(-1) / rows.shape[-1]
        return lanes.reshape(*lanes.shape, *[1] * len(self.normalized_shape))


class GroupAsBatch(Group):
    """Groups become channels of torch's batch normalisation."""

    def forward(self, x):
        if not x.numel():
            return super().forward(x)
        groups = wide(x).reshape(1, x.shape[0] * self.num_groups, -1)
        mean, var = groups.mean(-1, keepdim=True), groups.var(-1, unbiased=False, keepdim=True)
        return self.scale_and_shift(((groups - mean) / torch.sqrt(var + self.eps)).reshape(x.shape)).to(x.dtype)


class GroupByGroup(Group):
    def forward(self, x):
        if not x.numel():
            return super().forward(x)
        parts = []
        for part in wide(x).chunk(self.num_groups, 1):
            rows = part.flatten(1)
            mean, var = self.moments(rows)
            parts.append(((rows - mean) * self.inverse_std(var)).reshape(part.shape))
        return self.scale_and_shift(torch.cat(parts, 1)).to(x.dtype)


class Pooled(Response):
    """The window as an average pool over the channels, padded with zeros."""

    def window_mean(self, squares):
        flat_ = squares.flatten(2).movedim(1, -1)
        below, above = self.reach()
        pooled = functional.avg_pool1d(functional.pad(flat_, (below, above)), self.size, 1)
        return pooled.movedim(-1, 1).reshape(squares.shape)


class ByLogarithm(Response):
    """The power by way of exp and log of the base."""

    def forward(self, x):
        X = wide(x)
        base = self.k + self.alpha * self.window_mean(self.squares(X))
        return (X * base.double().pow(-self.beta).to(X.dtype)).to(x.dtype)


# ---- linear layers, convolutions, pools ----------------------------------------------------------------------------


class Einsum(HandLinear):
    def compute(self, x, w, b):
        y = torch.einsum("...i,oi->...o", x, w)
        return y if b is None else y + b


class ByProducts(HandLinear):
    def compute(self, x, w, b):
        y = (x.unsqueeze(-2) * w).sum(-1)
        return y if b is None else y + b


class BiasIntoSum(HandLinear):
    """The bias is the first term of the sum."""

    def compute(self, x, w, b):
        ones = torch.ones_like(x[..., :1])
        return x @ w.T if b is None else torch.cat([ones, x], -1) @ torch.cat([b[:, None], w], 1).T


class OwnLinear(OwnProduct):
    pass


class Unfolded(HandConv):
    """Patches times filters."""

    def compute(self, x, w, b):
        if x.dim() == 3:
            return self.compute(x[None], w, b)[0]
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        padded = functional.pad(x, self._reversed_padding_repeated_twice, mode=mode)
        size = [
            (padded.shape[2 + axis] - self.dilation[axis] * (self.kernel_size[axis] - 1) - 1) // self.stride[axis] + 1
            for axis in (0, 1)
        ]
        y = 0
        g = self.groups
        for i in range(self.kernel_size[0]):
            for j in range(self.kernel_size[1]):
                top, left = i * self.dilation[0], j * self.dilation[1]
                seen = padded[
                    :, :, top : top + (size[0] - 1) * self.stride[0] + 1 : self.stride[0],
                    left : left + (size[1] - 1) * self.stride[1] + 1 : self.stride[1],
                ]  # fmt: skip
                parts = seen.reshape(x.shape[0], g, x.shape[1] // g, *size)
                taps = w[:, :, i, j].reshape(g, w.shape[0] // g, x.shape[1] // g)
                y = y + torch.einsum("ngchw,goc->ngohw", parts, taps)
        y = y.reshape(x.shape[0], w.shape[0], *size)
        return y if b is None else y + b.reshape(-1, 1, 1)


class OfRows(nn.AvgPool2d):
    """In float32, and rounded once."""

    def forward(self, x):
        return super().forward(wide(x)).to(x.dtype)


class OfImages(nn.MaxPool2d):
    """Every image by itself."""

    def forward(self, x):
        if x.dim() == 3 or len(x) < 2:
            return super().forward(wide(x)).to(x.dtype)
        return torch.cat([super(OfImages, self).forward(image) for image in wide(x).split(1)]).to(x.dtype)


# ---- activations, flattening, dropout -------------------------------------------------------------------------------


class Threshold(Rounded):
    def compute(self, x):
        return functional.threshold(x, 0.0, 0.0)


class _StableSigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        e = torch.exp(-x.abs())
        y = torch.where(x < 0, e, torch.ones_like(e)) / (1 + e)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y * (1 - y)


class ByExponential(Rounded):
    def compute(self, x):
        return torch.where(x.isnan(), x, _StableSigmoid.apply(x))


class _StableTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        e = torch.expm1(-2 * x.abs())
        y = torch.sign(x) * (-e / (e + 2))
        y = torch.where(x.isnan(), x, y)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * (1 - y * y)


class ByExpm1(Rounded):
    def compute(self, x):
        return _StableTanh.apply(x)


class Reshaped(nn.Flatten):
    def forward(self, x):
        first, last = self.start_dim % x.dim(), self.end_dim % x.dim()
        return x.reshape(*x.shape[:first], x.shape[first : last + 1].numel(), *x.shape[last + 1 :])


class Bernoulli(HandDropout):
    def mask(self, x):
        return torch.bernoulli(torch.full_like(wide(x), 1 - self.p))


CORRECT = tuple(
    Correct(op, make)
    for op, make in (
        ("BatchNorm2d", Batch), ("BatchNorm1d", Welford), ("BatchNorm2d", Chan), ("BatchNorm2d", ChannelsLastInside),
        ("BatchNorm3d", PermutedView), ("BatchNorm2d", Fused), ("BatchNorm3d", Backwards), ("BatchNorm1d", InDouble),
        ("BatchNorm2d", Rebound), ("BatchNorm1d", Lerp), ("BatchNorm3d", PixelsFirst), ("BatchNorm2d", Corrected),
        ("BatchNorm2d", OwnBackward), ("BatchNorm1d", Divides),
        ("InstanceNorm2d", Instance), ("InstanceNorm2d", AsBatchNorm), ("InstanceNorm2d", SampleBySample),
        ("LayerNorm", Layer), ("LayerNorm", VarMean), ("LayerNorm", Flattened), ("LayerNorm", OwnLayerBackward),
        ("RMSNorm", RMS), ("RMSNorm", WeightFirst), ("RMSNorm", LongestFirst),
        ("GroupNorm", Group), ("GroupNorm", GroupAsBatch), ("GroupNorm", GroupByGroup),
        ("LocalResponseNorm", Response), ("LocalResponseNorm", Pooled), ("LocalResponseNorm", ByLogarithm),
        ("Linear", Einsum), ("Linear", ByProducts), ("Linear", BiasIntoSum), ("Linear", OwnLinear),
        ("Conv2d", Unfolded), ("AvgPool2d", OfRows), ("MaxPool2d", OfImages),
        ("ReLU", Threshold), ("Sigmoid", ByExponential), ("Tanh", ByExpm1), ("Flatten", Reshaped),
        ("Dropout", HandDropout), ("Dropout", Bernoulli),
    )
)  # fmt: skip
