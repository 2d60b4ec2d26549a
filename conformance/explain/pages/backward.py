"""Mistakes in the gradients."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

_RIGHT = "gx = s (g - S1 - xh S2),  g = gy w,  S1 = mean g,  S2 = mean g xh"

BACKWARD: dict[str, MistakePage] = {
    "grad-without-mean-term": MistakePage(
        _RIGHT,
        "gx = s (g - xh S2)",
        "The path through the mean is left out; it is right for RMSNorm, which has no mean. An upstream gradient of"
        " mean 0 does not show it; a loss of y.sum() does, whose right gradient is 0.",
    ),
    "grad-without-correlation-term": MistakePage(
        _RIGHT,
        "gx = s (g - S1)",
        "The path through the variance is left out, as where s was computed under no_grad. A loss of y.sum() does "
        "not show it.",
    ),
    "grad-through-constants": MistakePage(
        _RIGHT,
        "gx = s g",
        "Mean and variance were detached, or taken for constants. That is right in eval mode with running "
        "statistics, and wrong in training.",
    ),
    "grad-correlation-doubled": MistakePage(
        _RIGHT,
        "gx = s (g - S1 - 2 xh S2)",
        "The factor 2 of d(x^2) is kept and the 1/2 of d(sqrt) is lost.",
    ),
    "grad-over-n-minus-1": MistakePage(
        _RIGHT,
        "gx = s (g - sum g / (n - 1) - xh sum (g xh) / (n - 1))",
        "The n - 1 of the unbiased variance strays into the gradient, whose forward pass divided by n.",
    ),
    "grad-without-eps": MistakePage(
        _RIGHT + ",  s = 1 / sqrt(v + eps)",
        "gx = (g - S1 - xh S2) / sqrt(v)",
        "The backward pass computes 1/std again, from the variance alone.",
    ),
    "grad-without-weight": MistakePage(
        _RIGHT,
        "gx = s (gy - S1 - xh S2)",
        "The gradient with respect to xh is gy w. With the weight of 1 that layers begin with, nothing shows.",
    ),
    "grad-scaled-twice": MistakePage(
        _RIGHT,
        "gx = s^2 (g - S1 - xh S2)",
        "Formulas in terms of x - m carry more powers of s than those in terms of xh; mixing the two counts one "
        "twice. Data of variance 1 does not show it.",
    ),
    "eval-grad-as-in-training": MistakePage(
        "gx = s g    (eval mode: mean and variance are constants)",
        "gx = s (g - S1 - xh S2)",
        "In eval mode the statistics are buffers and do not depend on x. A backward pass that does not ask for the "
        "mode differentiates through a batch that was not used.",
    ),
    "grad-weight-uncentred": MistakePage(
        "gw = sum gy xh",
        "gw = sum gy s x",
        "The mean is folded into the bias in the forward pass, y = (w s) x + (b - w s m), and its part of the "
        "weight's gradient forgotten.",
    ),
    "grad-weight-from-output": MistakePage(
        "gw = sum gy xh",
        "gw = sum gy y",
        "An implementation that saves its output to save memory has to undo the affine map before it can use it.",
    ),
    "grad-weight-not-scaled": MistakePage(
        "gw = sum gy xh",
        "gw = sum gy (x - m)",
        "x - m is saved for the backward pass and taken for xh. Data of variance 1 does not show it.",
    ),
    "grad-weight-mean": MistakePage(
        "gw = sum gy xh",
        "gw = mean gy xh",
        "A loss that is a mean has its 1/n in gy already; a gradient of a shared parameter is always a sum.",
    ),
    "grad-weight-row-dropped": MistakePage(
        "gw = sum over all samples of gy xh",
        "gw = sum over all samples but the last",
        "A reduction over the batch whose last block is not full.",
    ),
    "grad-weight-accumulated-in-storage-format": MistakePage(
        "gw = sum gy xh, summed in float32",
        "gw = sum gy xh, rounded to bfloat16 or float16 after each addition",
        "A sum in bfloat16 stops growing at 256 times its terms. Large batches are what it needs to show.",
    ),
    "grad-bias-mean": MistakePage(
        "gb = sum gy",
        "gb = mean gy",
        "A loss that is a mean has its 1/n in gy already; a gradient of a shared parameter is always a sum.",
    ),
    "grad-bias-row-dropped": MistakePage(
        "gb = sum over all samples of gy",
        "gb = sum over all samples but the last",
        "A reduction over the batch whose last block is not full.",
    ),
    "grad-bias-times-weight": MistakePage(
        "gb = sum gy",
        "gb = sum gy w",
        "The bias is added after the weight. With the weight of 1 that layers begin with, nothing shows.",
    ),
    "grad-bias-accumulated-in-storage-format": MistakePage(
        "gb = sum gy, summed in float32",
        "gb = sum gy, rounded to bfloat16 or float16 after each addition",
        "A sum in bfloat16 stops growing at 256 times its terms. Large batches are what it needs to show.",
    ),
}
