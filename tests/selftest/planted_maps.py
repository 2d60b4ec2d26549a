"""Wrong linear layers, convolutions, pools, activations, flattening and dropout."""

# ruff: noqa: FBT002 - the signatures are torch's
from __future__ import annotations

import torch
from layers import wide
from torch import nn
from torch.nn import functional


class Rounded(nn.Module):
    """Computes in float32 and rounds once."""

    def forward(self, x):
        return self.compute(wide(x)).to(x.dtype)


# ---- Linear ---------------------------------------------------------------------------------------------------------


class HandLinear(nn.Linear):
    def forward(self, x):
        return self.compute(wide(x), wide(self.weight), None if self.bias is None else wide(self.bias)).to(x.dtype)

    def compute(self, x, w, b):
        return x @ w.T if b is None else x @ w.T + b


class NoBias(HandLinear):
    def compute(self, x, w, b):
        return x @ w.T if b is None else x @ w.T + 0 * b


class BiasTwice(HandLinear):
    def compute(self, x, w, b):
        return functional.linear(x, w, b) if b is None else functional.linear(x, w, b) + b


class _Product(torch.autograd.Function):
    """A product with a backward pass of its own."""

    @staticmethod
    def forward(ctx, x, w, wrong):
        ctx.save_for_backward(x, w)
        ctx.wrong = wrong
        return x @ w.T

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        rows, seen = g.reshape(-1, w.shape[0]), x.reshape(-1, w.shape[1])
        square = w.shape[0] == w.shape[1]
        gx = g @ (w.T if ctx.wrong == "input" and square else w)
        if ctx.wrong == "row":
            rows, seen = rows[1:], seen[1:]
        gw = rows.T @ seen
        return gx, gw / max(rows.shape[0], 1) if ctx.wrong == "mean" else gw, None


class OwnProduct(HandLinear):
    wrong = ""

    def compute(self, x, w, b):
        y = _Product.apply(x, w, self.wrong)
        return y if b is None else y + b


class MeanOfRows(OwnProduct):
    wrong = "mean"


class DropsARow(OwnProduct):
    wrong = "row"


class GradientNotTransposed(OwnProduct):
    wrong = "input"


class Transposed(HandLinear):
    def compute(self, x, w, b):
        return super().compute(x, w.T if w.shape[0] == w.shape[1] else w, b)


# ---- Conv2d ---------------------------------------------------------------------------------------------------------


class HandConv(nn.Conv2d):
    def forward(self, x):
        b = None if self.bias is None else wide(self.bias)
        return self.compute(wide(x), wide(self.weight), b).to(x.dtype)

    def compute(self, x, w, b):
        return self._conv_forward(x, w, b)


class Flipped(HandConv):
    def compute(self, x, w, b):
        return super().compute(x, w.flip(2, 3), b)


class ForgetsConvBias(HandConv):
    def compute(self, x, w, b):
        y = super().compute(x, w, None)
        return y if b is None else y + 0 * b.reshape(-1, 1, 1)


class NoDilation(HandConv):
    """Computes the padding with the dilation and then forgets it."""

    def compute(self, x, w, b):
        if self.dilation == (1, 1):
            return super().compute(x, w, b)
        right = super().compute(x, w, b)
        padded = self._padded(x)
        y = functional.conv2d(padded, w, b, self.stride, 0, 1, self.groups)
        return y[..., : right.shape[-2], : right.shape[-1]].contiguous()

    def _padded(self, x):
        left_right_top_bottom = self._reversed_padding_repeated_twice
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return functional.pad(x, left_right_top_bottom, mode=mode)


class ZerosInThePadding(HandConv):
    def compute(self, x, w, b):
        padded = functional.pad(x, self._reversed_padding_repeated_twice)
        return functional.conv2d(padded, w, b, self.stride, 0, self.dilation, self.groups)


# ---- pools ----------------------------------------------------------------------------------------------------------


class ZeroPadded(nn.MaxPool2d):
    """Pads with zeros first, also where ceil_mode lets a window hang over."""

    def forward(self, x):
        stride = self.kernel_size if self.stride is None else self.stride
        given = self.kernel_size, stride, self.padding, self.dilation
        pairs = [each if isinstance(each, (tuple, list)) else (each, each) for each in given]
        right = super().forward(x)
        before_after = []
        for axis, (k, s, p, d) in enumerate(zip(*pairs, strict=True)):
            reach = (right.shape[axis - 2] - 1) * s + d * (k - 1) + 1
            before_after = [p, max(reach - p - x.shape[axis - 2], 0), *before_after]
        padded = functional.pad(x, before_after)
        y = functional.max_pool2d(padded, self.kernel_size, pairs[1], 0, self.dilation)
        return torch.empty_like(right).copy_(y[..., : right.shape[-2], : right.shape[-1]])


class SumPool(nn.AvgPool2d):
    def forward(self, x):
        return functional.avg_pool2d(
            wide(x), self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, 1
        ).to(x.dtype)


class Inverted(nn.AvgPool2d):
    def forward(self, x):
        return functional.avg_pool2d(
            wide(x), self.kernel_size, self.stride, self.padding, self.ceil_mode, not self.count_include_pad,
            self.divisor_override,
        ).to(x.dtype)  # fmt: skip


class IgnoresOverride(nn.AvgPool2d):
    def forward(self, x):
        return functional.avg_pool2d(
            wide(x), self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        ).to(x.dtype)


# ---- activations ----------------------------------------------------------------------------------------------------


class Leaky(Rounded):
    def compute(self, x):
        return functional.leaky_relu(x)


class Six(Rounded):
    def compute(self, x):
        return functional.relu6(x)


class _Unmasked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, g):
        return g


class StraightThrough(Rounded):
    def compute(self, x):
        return _Unmasked.apply(x)


class HardSigmoid(Rounded):
    def compute(self, x):
        return functional.hardsigmoid(x)


class _OfInput(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sigmoid(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x * (1 - x)


class GradientOfInput(Rounded):
    def compute(self, x):
        return _OfInput.apply(x)


class Rational(Rounded):
    def compute(self, x):
        return (x * (27 + x * x) / (27 + 9 * x * x)).clamp(-1, 1)


class ColumnMajor(nn.Flatten):
    def forward(self, x):
        last = self.end_dim % x.dim()
        first = self.start_dim % x.dim()
        axes = [*range(first), *reversed(range(first, last + 1)), *range(last + 1, x.dim())]
        return x.permute(axes).flatten(first, last)


# ---- dropout --------------------------------------------------------------------------------------------------------


class HandDropout(nn.Module):
    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        self.p, self.inplace = p, inplace

    def mask(self, x):
        return (torch.rand_like(wide(x)) >= self.p).to(wide(x).dtype)

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        return (wide(x) * self.mask(x) * self.factor()).to(x.dtype)

    def factor(self):
        return 0.0 if self.p == 1 else 1 / (1 - self.p)


class Unscaled(HandDropout):
    """The first paper scales in evaluation."""

    def factor(self):
        return 1.0


class ByP(HandDropout):
    def factor(self):
        return 1 / self.p


class DropsInEval(HandDropout):
    def forward(self, x):
        if self.p == 0:
            return x
        return (wide(x) * self.mask(x) * self.factor()).to(x.dtype)


PLANTED = (
    ("Linear", NoBias, "linear-bias-missing"),
    ("Linear", BiasTwice, "linear-bias-twice"),
    ("Linear", MeanOfRows, "linear-weight-gradient-averaged"),
    ("Linear", DropsARow, "linear-weight-gradient-row-dropped"),
    ("Linear", GradientNotTransposed, "linear-input-gradient-not-transposed"),
    ("Linear", Transposed, "linear-weight-transposed"),
    ("Conv2d", Flipped, "kernel-flipped"),
    ("Conv2d", ForgetsConvBias, "convolution-bias-missing"),
    ("Conv2d", NoDilation, "convolution-dilation-ignored"),
    ("Conv2d", ZerosInThePadding, "padding-always-zeros"),
    ("MaxPool2d", ZeroPadded, "padding-counts-as-zero"),
    ("AvgPool2d", SumPool, "sum-for-mean"),
    ("AvgPool2d", Inverted, "count-include-pad-inverted"),
    ("AvgPool2d", IgnoresOverride, "divisor-override-ignored"),
    ("ReLU", Leaky, "relu-leaky"),
    ("ReLU", Six, "relu-clipped"),
    ("ReLU", StraightThrough, "relu-gradient-unmasked"),
    ("Sigmoid", HardSigmoid, "sigmoid-hard"),
    ("Sigmoid", GradientOfInput, "sigmoid-gradient-of-input"),
    ("Tanh", Rational, "tanh-rational"),
    ("Flatten", ColumnMajor, "flatten-column-major"),
    ("Dropout", Unscaled, "dropout-unscaled"),
    ("Dropout", ByP, "dropout-scaled-by-p"),
    ("Dropout", DropsInEval, "dropout-in-eval"),
)
