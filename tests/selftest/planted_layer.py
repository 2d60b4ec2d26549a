"""Wrong layer, RMS and local response normalisations."""

from __future__ import annotations

import torch
from layers import RMS, Layer, Response, wide


class UnbiasedLayer(Layer):
    def moments(self, x):
        return x.mean(self.axes(x), keepdim=True), x.var(self.axes(x), keepdim=True)


class EpsOutsideLayer(Layer):
    """Divides by std + eps, as many tutorials do."""

    def inverse_std(self, var):
        return 1 / (var.sqrt() + self.eps)


class LastAxis(Layer):
    def axes(self, x):
        return [x.dim() - 1]


class LeadingAxes(Layer):
    def axes(self, x):
        return list(range(x.dim() - len(self.normalized_shape)))


class OnePassLayer(Layer):
    def moments(self, x):
        mean = x.mean(self.axes(x), keepdim=True)
        return mean, x.square().mean(self.axes(x), keepdim=True) - mean.square()


class IgnoresWeight(Layer):
    def scale_and_shift(self, xhat):
        if self.weight is not None:
            xhat = xhat + 0 * wide(self.weight)
        return xhat if self.bias is None else xhat + wide(self.bias)


class PositiveWeight(Layer):
    def scale_and_shift(self, xhat):
        if self.weight is not None:
            xhat = xhat * wide(self.weight).abs()
        return xhat if self.bias is None else xhat + wide(self.bias)


class _OfTheOutput(torch.autograd.Function):
    """Multiplies the gradient by what came out in the place of what went in."""

    @staticmethod
    def forward(ctx, xhat, w, b):
        y = xhat * w if b is None else xhat * w + b
        ctx.save_for_backward(y, w)
        ctx.biased, ctx.shape = b is not None, w.shape
        return y

    @staticmethod
    def backward(ctx, g):
        y, w = ctx.saved_tensors
        return g * w, (g * y).sum_to_size(ctx.shape), g.sum_to_size(ctx.shape) if ctx.biased else None


class WeightGradOfOutput(Layer):
    def scale_and_shift(self, xhat):
        if self.weight is None:
            return xhat
        return _OfTheOutput.apply(xhat, wide(self.weight), None if self.bias is None else wide(self.bias))


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, xhat, w, b):
        ctx.save_for_backward(xhat, w)
        ctx.biased = b is not None
        return xhat * w if b is None else xhat * w + b

    @staticmethod
    def backward(ctx, g):
        xhat, w = ctx.saved_tensors
        rows = max(g.numel() // max(w.numel(), 1), 1)
        return g * w, (g * xhat).sum_to_size(w.shape) / rows, g.sum_to_size(w.shape) if ctx.biased else None


class WeightGradMean(Layer):
    def scale_and_shift(self, xhat):
        if self.weight is None:
            return xhat
        return _Mean.apply(xhat, wide(self.weight), None if self.bias is None else wide(self.bias))


class CentresRMS(RMS):
    def forward(self, x):
        X = wide(x)
        centred = X - X.mean(self.axes(X), keepdim=True)
        return self.scale_and_shift(centred * torch.rsqrt(self.mean_square(X) + self.epsilon(X))).to(x.dtype)


class Euclidean(RMS):
    def mean_square(self, x):
        return x.square().sum(self.axes(x), keepdim=True)


class EpsOutsideRMS(RMS):
    def forward(self, x):
        X = wide(x)
        return self.scale_and_shift(X / (self.mean_square(X).sqrt() + self.epsilon(X))).to(x.dtype)


class GemmaWeight(RMS):
    """The weight is stored as its difference from one."""

    def scale_and_shift(self, xhat):
        return xhat if self.weight is None else xhat * (1 + wide(self.weight))


class RMSOverLastAxis(RMS):
    def axes(self, x):
        return [x.dim() - 1]


class DetachedRMS(RMS):
    def mean_square(self, x):
        return super().mean_square(x).detach()


class PaperAlpha(Response):
    """The alpha of the paper is not divided by the size."""

    def window_mean(self, squares):
        return super().window_mean(squares) * self.size


class WindowAbove(Response):
    def reach(self):
        return super().reach()[::-1]


class WideWindow(Response):
    def reach(self):
        return self.size, self.size


class OwnChannel(Response):
    def reach(self):
        return 0, 0


class FromOne(Response):
    def forward(self, x):
        X = wide(x)
        return (X / (1 + self.alpha * self.window_mean(self.squares(X))) ** self.beta).to(x.dtype)


class SquareRoot(Response):
    def forward(self, x):
        X = wide(x)
        return (X / torch.sqrt(self.k + self.alpha * self.window_mean(self.squares(X)))).to(x.dtype)


class Magnitudes(Response):
    def squares(self, x):
        return x.abs()


class DetachedResponse(Response):
    def window_mean(self, squares):
        return super().window_mean(squares).detach()


class PresentChannels(Response):
    def window_mean(self, squares):
        below, above = self.reach()
        C = squares.shape[1]
        return torch.stack([squares[:, max(0, c - below) : c + above + 1].mean(1) for c in range(C)], 1)


PLANTED = (
    ("LayerNorm", UnbiasedLayer, "unbiased-variance"),
    ("LayerNorm", EpsOutsideLayer, "eps-outside-sqrt"),
    ("LayerNorm", LastAxis, "layer-norm-over-last-axis"),
    ("LayerNorm", LeadingAxes, "layer-norm-over-batch"),
    ("LayerNorm", OnePassLayer, "one-pass-variance"),
    ("LayerNorm", IgnoresWeight, "weight-ignored"),
    ("LayerNorm", PositiveWeight, "weight-made-positive"),
    ("LayerNorm", WeightGradOfOutput, "grad-weight-from-output"),
    ("LayerNorm", WeightGradMean, "grad-weight-mean"),
    ("RMSNorm", CentresRMS, "mean-subtracted"),
    ("RMSNorm", Euclidean, "norm-for-rms"),
    ("RMSNorm", EpsOutsideRMS, "eps-outside-sqrt"),
    ("RMSNorm", GemmaWeight, "weight-plus-one"),
    ("RMSNorm", RMSOverLastAxis, "layer-norm-over-last-axis"),
    ("RMSNorm", DetachedRMS, "grad-through-constants"),
    ("LocalResponseNorm", PaperAlpha, "alpha-not-divided"),
    ("LocalResponseNorm", WindowAbove, "window-on-the-other-side"),
    ("LocalResponseNorm", WideWindow, "window-too-wide"),
    ("LocalResponseNorm", OwnChannel, "window-of-one"),
    ("LocalResponseNorm", FromOne, "k-ignored"),
    ("LocalResponseNorm", SquareRoot, "square-root-for-beta"),
    ("LocalResponseNorm", Magnitudes, "magnitudes-for-squares"),
    ("LocalResponseNorm", DetachedResponse, "response-grad-without-window"),
    ("LocalResponseNorm", PresentChannels, "edges-averaged-over-present"),
)
