"""Mistakes in the linear layer and in convolution."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

_LINEAR = "y = W x + b,  W: (out_features, in_features)"
_CONVOLUTION = "y[o, i, j] = b[o] + sum over c, p, q of W[o, c, p, q] x[c, i + p, j + q]"

LINEAR: dict[str, MistakePage] = {
    "linear-bias-missing": MistakePage(
        _LINEAR,
        "y = W x",
        "A layer made with bias=False for a checkpoint that has one, and load_state_dict(strict=False), which does "
        "not raise.",
    ),
    "linear-bias-twice": MistakePage(
        _LINEAR,
        "y = W x + b + b",
        "addmm adds the bias already; the line after it adds it again.",
    ),
    "linear-weight-transposed": MistakePage(
        _LINEAR,
        "y = W^T x + b",
        "torch keeps the weight as (out, in), Keras's Dense keeps its kernel as (in, out). A square weight passes "
        "every check of shapes.",
    ),
    "linear-accumulated-in-storage-format": MistakePage(
        "the products are summed in float32, whatever they are stored in",
        "the products are summed in bfloat16 or float16",
        "A sum in bfloat16 stops growing once it is 256 times its terms.",
    ),
    "linear-input-gradient-not-transposed": MistakePage(
        "gx = W^T gy",
        "gx = W gy",
        "A square weight passes every check of shapes.",
    ),
    "linear-weight-gradient-averaged": MistakePage(
        "gW = sum over the rows of gy x^T",
        "gW = mean over the rows of gy x^T",
        "A loss that is a mean has its 1/n in gy already; the gradient of a shared parameter is a sum.",
    ),
    "linear-weight-gradient-row-dropped": MistakePage(
        "gW = sum over the rows of gy x^T",
        "gW = sum over all rows but one of gy x^T",
        "A reduction whose last block is not full.",
    ),
    "linear-bias-gradient-averaged": MistakePage(
        "gb = sum over the rows of gy",
        "gb = mean over the rows of gy",
        "A loss that is a mean has its 1/n in gy already; the gradient of a shared parameter is a sum.",
    ),
}

CONVOLUTION: dict[str, MistakePage] = {
    "convolution-bias-missing": MistakePage(
        _CONVOLUTION,
        "y[o, i, j] = sum over c, p, q of W[o, c, p, q] x[c, i + p, j + q]",
        "Before a BatchNorm nobody notices: its mean takes the bias away again.",
    ),
    "kernel-flipped": MistakePage(
        _CONVOLUTION,
        "y[o, i, j] = b[o] + sum of W[o, c, p, q] x[c, i - p, j - q]",
        "Textbooks and scipy.signal.convolve mirror the kernel; what deep learning calls a convolution is a "
        "cross-correlation and does not. A symmetric kernel does not show it.",
    ),
    "convolution-groups-mixed": MistakePage(
        "group of channel c = c // (C / groups)",
        "group of channel c = c mod groups",
        "x.reshape(N, C/groups, groups, ...) in place of x.reshape(N, groups, C/groups, ...).",
    ),
    "same-padding-at-start": MistakePage(
        "padding='same', an odd amount: the additional row and column come after the image",
        "the additional row and column come before the image",
        "ONNX has names for both, SAME_UPPER and SAME_LOWER. Where the amount is even nothing is left over.",
    ),
    "padding-off-by-one": MistakePage(
        "padding = (above, below) = (p, p)",
        "padding = (above, below) = (p - 1, p + 1)",
        "The output keeps its size, and lies one row off.",
    ),
    "padding-always-zeros": MistakePage(
        "what stands in the padding follows padding_mode: zeros, reflect, replicate, circular",
        "zeros stand in the padding",
        "The modes other than zeros are a pad before the convolution in torch, which a fused kernel may not know.",
    ),
    "convolution-dilation-ignored": MistakePage(
        "y[i] = sum over p of W[p] x[i + dilation p]",
        "y[i] = sum over p of W[p] x[i + p]",
        "A dilation of 1, the default, does not show it.",
    ),
    "convolution-weight-gradient-averaged": MistakePage(
        "gW = sum over the images",
        "gW = mean over the images",
        "A loss that is a mean has its 1/n in gy already; a batch of one does not show it.",
    ),
    "convolution-bias-gradient-of-one-image": MistakePage(
        "gb[o] = sum over images and pixels of gy[n, o, i, j]",
        "gb[o] = sum over the pixels of the last image",
        "A loop over the images that overwrites what it should add to. A batch of one does not show it.",
    ),
    "convolution-gradient-from-flipped-kernel": MistakePage(
        "gx = gy convolved with W, mirrored: the transposed map",
        "gx = gy correlated with W, mirrored once too often",
        "The backward pass of a correlation is a convolution, with one mirroring; two of them are none. A symmetric "
        "kernel does not show it.",
    ),
}
