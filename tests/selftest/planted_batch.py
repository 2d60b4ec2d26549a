"""Wrong batch normalisations."""

from __future__ import annotations

import torch
from layers import Batch, wide
from torch import nn


class EpsOutside(Batch):
    def inverse_std(self, var):
        return 1 / (torch.sqrt(var) + self.eps)


class NoEps(Batch):
    def inverse_std(self, var):
        return torch.rsqrt(var)


class EpsTwiceByDefault(Batch):
    def inverse_std(self, var):
        return torch.rsqrt(var + 10 * self.eps)


class EpsClamped(Batch):
    def inverse_std(self, var):
        return torch.rsqrt(var.clamp(min=self.eps))


class UnbiasedEverywhere(Batch):
    """x.var() is the unbiased one."""

    def moments(self, x):
        axes = [0, *range(2, x.dim())]
        return x.mean(axes, keepdim=True), x.var(axes, keepdim=True)

    def unbiased(self, var, n):
        return var


class NoSquareRoot(Batch):
    def inverse_std(self, var):
        return 1 / (var + self.eps)


class OnlyScales(Batch):
    def centred(self, x, mean):
        return x


class MeanSquare(Batch):
    def moments(self, x):
        axes = [0, *range(2, x.dim())]
        return x.mean(axes, keepdim=True), x.square().mean(axes, keepdim=True)


class OnePass(Batch):
    def moments(self, x):
        axes = [0, *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True)
        return mean, (x * x).mean(axes, keepdim=True) - mean * mean


class MeanDeviation(Batch):
    def moments(self, x):
        axes = [0, *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True)
        return mean, (x - mean).abs().mean(axes, keepdim=True) ** 2


class PerPixel(Batch):
    """Reduces the batch axis alone."""

    def moments(self, x):
        mean = x.mean(0, keepdim=True)
        return mean, (x - mean).square().mean(0, keepdim=True)

    def remember(self, mean, var, n):
        C = self.num_features
        super().remember(mean.view(C, -1).mean(1), var.view(C, -1).mean(1), n)


class PerSample(Batch):
    """Reduces the pixels alone."""

    def moments(self, x):
        axes = list(range(2, x.dim()))
        mean = x.mean(axes, keepdim=True)
        return mean, (x - mean).square().mean(axes, keepdim=True)

    def remember(self, mean, var, n):
        C = self.num_features
        super().remember(mean.view(-1, C).mean(0), var.view(-1, C).mean(0), n)


class OverEverything(Batch):
    def moments(self, x):
        mean = x.mean().expand(1, x.shape[1], *[1] * (x.dim() - 2))
        return mean, ((x - mean) ** 2).mean().expand_as(mean)


class MissesTheLastSample(Batch):
    def moments(self, x):
        rest = x[:-1] if x.dim() == 2 else x.transpose(0, 1).flatten(1)[:, :-1].t()
        mean, var = rest.mean(0), rest.var(0, unbiased=False)
        return self.along(mean, x), self.along(var, x)


class BiasFirst(Batch):
    def scale_and_shift(self, xhat):
        if self.bias is not None:
            xhat = xhat + self.along(self.bias, xhat)
        return xhat if self.weight is None else xhat * self.along(self.weight, xhat)


class WeightFromZero(Batch):
    """Stored as the difference from one."""

    def scale_and_shift(self, xhat):
        if self.weight is not None:
            xhat = xhat * (1 + self.along(self.weight, xhat))
        return xhat if self.bias is None else xhat + self.along(self.bias, xhat)


class ForgetsBias(Batch):
    def scale_and_shift(self, xhat):
        return xhat if self.weight is None else xhat * self.along(self.weight, xhat) + 0 * self.bias_or_zero()

    def bias_or_zero(self):
        return 0 if self.bias is None else wide(self.bias).sum()


class Swapped(Batch):
    def scale_and_shift(self, xhat):
        if self.bias is None:
            return super().scale_and_shift(xhat)
        return xhat * self.along(self.bias, xhat) + self.along(self.weight, xhat)


class KerasMomentum(Batch):
    def moved(self, old, new, weight):
        return weight * old + (1 - weight) * new


class OnlyAdds(Batch):
    def moved(self, old, new, weight):
        return old + weight * new


class KeepsTheLast(Batch):
    def moved(self, old, new, weight):
        return new


class NeverMoves(Batch):
    def remember(self, mean, var, n):
        pass


class MovesTwice(Batch):
    def remember(self, mean, var, n):
        super().remember(mean, var, n)
        super().remember(mean, var, n)


class RunsTwice(Batch):
    """Calls itself once more to look at the output."""

    def forward(self, x):
        super().forward(x)
        return super().forward(x)


class MovesInEval(Batch):
    def forward(self, x):
        if not self.training and self.tracks and x.numel():
            mean, var = self.moments(wide(x))
            y = super().forward(x)
            self.count()
            self.remember(mean.flatten(), var.flatten(), x.numel() // x.shape[1])
            return y
        return super().forward(x)


class BiasedRunning(Batch):
    def unbiased(self, var, n):
        return var


class RunningStd(Batch):
    def unbiased(self, var, n):
        return super().unbiased(var, n).sqrt()


class EpsInRunning(Batch):
    def unbiased(self, var, n):
        return super().unbiased(var, n) + self.eps


class CountsNothing(Batch):
    def count(self):
        pass

    def average(self):
        return 1.0 / (int(self.num_batches_tracked) + 1) if self.momentum is None else self.momentum


class AveragesFromTwo(Batch):
    def average(self):
        return 1.0 / (int(self.num_batches_tracked) + 1) if self.momentum is None else self.momentum


class NoneMeansDefault(Batch):
    def average(self):
        return 0.1 if self.momentum is None else self.momentum


class ZeroMeansNone(Batch):
    def average(self):
        return self.momentum or 1.0 / int(self.num_batches_tracked)


class SwapsBuffers(Batch):
    """Passes the moving variance where the moving mean belongs, on the way in and out."""

    @torch.no_grad()
    def remember(self, mean, var, n):
        weight = self.average()
        old_mean, old_var = wide(self.running_var).clone(), wide(self.running_mean).clone()
        self.running_mean.copy_(self.moved(old_mean, mean, weight))
        self.running_var.copy_(self.moved(old_var, self.unbiased(var, n), weight))

    def stored(self, x):
        return self.along(self.running_var, x), self.along(self.running_mean, x)


class VarianceFromZero(Batch):
    def __init__(self, num_features, **arguments):
        super().__init__(num_features, **arguments)
        if self.tracks:
            nn.init.zeros_(self.running_var)


class RunningInTraining(Batch):
    def forward(self, x):
        if self.training and self.tracks:
            with torch.no_grad():
                before = wide(self.running_mean).clone(), wide(self.running_var).clone()
                super().forward(x)
            X = wide(x)
            mean, var = (self.along(each, X) for each in before)
            return self.scale_and_shift((X - mean) * self.inverse_std(var)).to(x.dtype)
        return super().forward(x)


class ForgetsEval(Batch):
    def uses_batch(self):
        return True


class Detached(Batch):
    def moments(self, x):
        return tuple(each.detach() for each in super().moments(x))


class DetachedMean(Batch):
    def forward(self, x):
        return super().forward(x)

    def moments(self, x):
        axes = [0, *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True).detach()
        return mean, (x - mean).square().mean(axes, keepdim=True)


class DetachedVariance(Batch):
    def inverse_std(self, var):
        return super().inverse_std(var).detach()


class ForgetsToSave(Batch):
    """Running statistics as buffers that are not saved."""

    def __init__(self, num_features, **arguments):
        super().__init__(num_features, **arguments)
        if self.tracks:
            for name in ("running_mean", "running_var"):
                self.register_buffer(name, getattr(self, name), persistent=False)


class WritesIntoItsInput(Batch):
    def forward(self, x):
        y = super().forward(x)
        with torch.no_grad():
            x.detach().mul_(1.5)
        return y


class StaysInFloat32(Batch):
    """Forgets to cast back."""

    def forward(self, x):
        return super().forward(wide(x))


class InHalf(Batch):
    """Sums up in the dtype of the input."""

    def moments(self, x):
        return x.mean([0, *range(2, x.dim())], keepdim=True), x.var(
            [0, *range(2, x.dim())], keepdim=True, unbiased=False
        )

    def forward(self, x):
        if x.dtype == wide(x).dtype or not x.numel() or not self.uses_batch():
            return super().forward(x)
        super().forward(x)
        mean, var = self.moments(x)
        w = 1 if self.weight is None else self.weight.to(x.dtype).reshape(1, -1, *[1] * (x.dim() - 2))
        b = 0 if self.bias is None else self.bias.to(x.dtype).reshape(1, -1, *[1] * (x.dim() - 2))
        return (x - mean) * (1 / (var + self.eps).sqrt()) * w + b


class _DroppedSums(torch.autograd.Function):
    """The backward pass of a first attempt: each path that is not asked for is left out."""

    @staticmethod
    def forward(ctx, x, eps, part):
        axes = [0, *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True)
        xc = x - mean
        s = torch.rsqrt(xc.square().mean(axes, keepdim=True) + eps)
        ctx.save_for_backward(xc * s, s)
        ctx.axes, ctx.part = axes, part
        return xc * s

    @staticmethod
    def backward(ctx, g):
        xhat, s = ctx.saved_tensors
        first, second = g.mean(ctx.axes, keepdim=True), (g * xhat).mean(ctx.axes, keepdim=True)
        if ctx.part == "mean":
            return s * (g - xhat * second), None, None
        if ctx.part == "twice":
            return s * (g - first - 2 * xhat * second), None, None
        if ctx.part == "squared":
            return s * s * (g - first - xhat * second), None, None
        n = g.numel() // g.shape[1]
        return s * (g - (first + xhat * second) * (n / max(n - 1, 1))), None, None


class OwnBackward(Batch):
    part = ""

    def forward(self, x):
        X = wide(x)
        if not X.numel() or not self.uses_batch():
            return super().forward(x)
        with torch.no_grad():
            super().forward(x)
        return self.scale_and_shift(_DroppedSums.apply(X, self.eps, self.part)).to(x.dtype)


class BackwardWithoutMean(OwnBackward):
    part = "mean"


class BackwardTwice(OwnBackward):
    part = "twice"


class BackwardSquared(OwnBackward):
    part = "squared"


class BackwardOverNMinus1(OwnBackward):
    part = "n"


class ManyAtOnce(Batch):
    """What a first attempt looks like."""

    def moments(self, x):
        axes = [0, *range(2, x.dim())]
        return x.mean(axes, keepdim=True), x.var(axes, keepdim=True)

    def inverse_std(self, var):
        return 1 / (var.sqrt() + self.eps)

    def unbiased(self, var, n):
        return var

    def moved(self, old, new, weight):
        return weight * old + (1 - weight) * new

    def count(self):
        pass

    def average(self):
        return 0.1 if self.momentum is None else self.momentum


PLANTED = (
    ("BatchNorm2d", EpsOutside, "eps-outside-sqrt"),
    ("BatchNorm1d", NoEps, "eps-missing"),
    ("BatchNorm2d", EpsTwiceByDefault, "eps-times-ten"),
    ("BatchNorm3d", EpsClamped, "eps-as-floor"),
    ("BatchNorm2d", UnbiasedEverywhere, "unbiased-variance"),
    ("BatchNorm1d", NoSquareRoot, "variance-for-std"),
    ("BatchNorm2d", OnlyScales, "mean-not-subtracted"),
    ("BatchNorm3d", MeanSquare, "mean-square-for-variance"),
    ("BatchNorm2d", OnePass, "one-pass-variance"),
    ("BatchNorm1d", MeanDeviation, "absolute-deviation"),
    ("BatchNorm2d", PerPixel, "batch-norm-per-pixel"),
    ("BatchNorm2d", PerSample, "batch-norm-per-sample"),
    ("BatchNorm3d", OverEverything, "statistics-over-everything"),
    ("BatchNorm1d", MissesTheLastSample, "tail-dropped"),
    ("BatchNorm2d", BiasFirst, "bias-before-scale"),
    ("BatchNorm1d", WeightFromZero, "weight-plus-one"),
    ("BatchNorm2d", ForgetsBias, "bias-ignored"),
    ("BatchNorm3d", Swapped, "weight-and-bias-swapped"),
    ("BatchNorm2d", KerasMomentum, "momentum-swapped"),
    ("BatchNorm1d", OnlyAdds, "momentum-additive"),
    ("BatchNorm2d", KeepsTheLast, "buffers-replaced"),
    ("BatchNorm3d", NeverMoves, "buffers-not-updated"),
    ("BatchNorm2d", MovesTwice, "buffers-moved-twice"),
    ("BatchNorm1d", RunsTwice, "buffers-updated-twice"),
    ("BatchNorm1d", MovesInEval, "buffers-updated-in-eval"),
    ("BatchNorm2d", BiasedRunning, "running-var-biased"),
    ("BatchNorm3d", RunningStd, "running-std"),
    ("BatchNorm1d", EpsInRunning, "running-var-with-eps"),
    ("BatchNorm2d", CountsNothing, "batches-not-counted"),
    ("BatchNorm1d", AveragesFromTwo, "cumulative-average-off-by-one"),
    ("BatchNorm2d", NoneMeansDefault, "cumulative-average-as-default"),
    ("BatchNorm3d", ZeroMeansNone, "momentum-zero-as-none"),
    ("BatchNorm2d", SwapsBuffers, "running-buffers-swapped"),
    ("BatchNorm1d", VarianceFromZero, "running-var-from-zero"),
    ("BatchNorm2d", RunningInTraining, "running-statistics-in-training"),
    ("BatchNorm1d", ForgetsEval, "batch-statistics-in-eval"),
    ("BatchNorm2d", Detached, "grad-through-constants"),
    ("BatchNorm3d", DetachedMean, "grad-without-mean-term"),
    ("BatchNorm1d", DetachedVariance, "grad-without-correlation-term"),
    ("BatchNorm2d", ForgetsToSave, "state-missing-from-state-dict"),
    ("BatchNorm1d", WritesIntoItsInput, "input-modified"),
    ("BatchNorm2d", StaysInFloat32, "output-dtype-changed"),
    ("BatchNorm2d", InHalf, "computed-in-storage-format"),
    ("BatchNorm3d", BackwardWithoutMean, "grad-without-mean-term"),
    ("BatchNorm1d", BackwardTwice, "grad-correlation-doubled"),
    ("BatchNorm2d", BackwardSquared, "grad-scaled-twice"),
    ("BatchNorm1d", BackwardOverNMinus1, "grad-over-n-minus-1"),
    (
        "BatchNorm2d", ManyAtOnce, "unbiased-variance", "eps-outside-sqrt", "momentum-swapped", "batches-not-counted",
        "cumulative-average-as-default",
    ),
)  # fmt: skip
