"""Mistakes in the affine map."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

AFFINE: dict[str, MistakePage] = {
    "bias-before-scale": MistakePage(
        "y = w xh + b",
        "y = w (xh + b)",
        "The order of the two operations is swapped. A weight of 1, with which layers begin, does not show it.",
    ),
    "weight-plus-one": MistakePage(
        "y = w xh + b",
        "y = (1 + w) xh + b",
        "Some libraries keep the weight as its distance from 1, so that it starts at 0 and weight decay pulls it to"
        " 1: Gemma's RMSNorm does. Weights carried over from there to torch, or back, are off by one.",
    ),
    "weight-ignored": MistakePage(
        "y = w xh + b",
        "y = xh + b",
        "A fused kernel or an exporter that forgets the weight. A layer fresh from its constructor has a weight of "
        "1 and does not show it.",
    ),
    "bias-ignored": MistakePage(
        "y = w xh + b",
        "y = w xh",
        "A layer fresh from its constructor has a bias of 0 and does not show it; a trained one does.",
    ),
    "bias-subtracted": MistakePage(
        "y = w xh + b",
        "y = w xh - b",
        "A sign that is lost where the shift is folded: y = w s x + (b - w s m) has one minus, and it belongs to "
        "the mean.",
    ),
    "weight-and-bias-swapped": MistakePage(
        "y = w xh + b",
        "y = b xh + w",
        "Both have the same shape, so that no check of shapes finds them exchanged. ONNX calls them scale and B, "
        "Keras gamma and beta.",
    ),
    "weight-made-positive": MistakePage(
        "y = w xh + b",
        "y = |w| xh + b",
        "Nothing keeps a trained weight positive. Code that takes its square root, its logarithm or its size, or "
        "folds it into a standard deviation, loses the sign.",
    ),
    "weight-of-the-neighbour": MistakePage(
        "y[c] = w[c] xh[c] + b[c]",
        "y[c] = w[c - 1] xh[c] + b[c]",
        "An index that is off by one, or a wrong stride. Where all weights are equal, as they are at first, nothing"
        " shows.",
    ),
}
