"""Mistakes in activations, flattening and dropout."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

_RELU = "y = max(0, x),  gx = gy where x > 0, else 0"
_SIGMOID = "y = 1 / (1 + exp(-x)),  gx = gy y (1 - y)"
_TANH = "y = tanh x,  gx = gy (1 - y^2)"
_DROPOUT = "training: y = mask x / (1 - p),  gx = mask gy / (1 - p)"

ACTIVATIONS: dict[str, MistakePage] = {
    "relu-gradient-at-zero": MistakePage(
        _RELU,
        "gx = gy where x >= 0, else 0",
        "At 0 any number between 0 and 1 is a subgradient; torch takes 0. Exact zeros are common after a ReLU.",
    ),
    "relu-nan-lost": MistakePage(
        _RELU + ";  NaN stays NaN",
        "NaN becomes 0",
        "max(0, NaN) is 0 in C's fmax. A network then trains on as if nothing had happened.",
    ),
    "relu-leaky": MistakePage(
        _RELU,
        "y = x where x > 0, else 0.01 x",
        "That is LeakyReLU with torch's default slope.",
    ),
    "relu-clipped": MistakePage(
        _RELU,
        "y = min(6, max(0, x))",
        "That is ReLU6, as MobileNet has it. Values of a normalised layer rarely reach 6.",
    ),
    "relu-gradient-unmasked": MistakePage(
        _RELU,
        "gx = gy",
        "A straight-through gradient.",
    ),
    "sigmoid-hard": MistakePage(
        _SIGMOID,
        "y = clip(x / 6 + 1 / 2, 0, 1)",
        "That is torch's Hardsigmoid; ONNX's HardSigmoid has the slope 0.2.",
    ),
    "sigmoid-absolute-accuracy": MistakePage(
        _SIGMOID,
        "y = 1 - s(-x) where x < 0",
        "Far below 0 the sigmoid is tiny and keeps all of its digits; 1 minus a number near 1 loses them.",
    ),
    "sigmoid-gradient-of-input": MistakePage(
        _SIGMOID,
        "gx = gy x (1 - x)",
        "The formula speaks of the output; what was saved is the input.",
    ),
    "sigmoid-gradient-without-complement": MistakePage(
        _SIGMOID,
        "gx = gy y",
        "Half of the formula. Far below 0 the two agree.",
    ),
    "tanh-rational": MistakePage(
        _TANH,
        "y = clip(x (27 + x^2) / (27 + 9 x^2), -1, 1)",
        "A cheap approximation, off by 2 % at most.",
    ),
    "tanh-by-exponentials": MistakePage(
        _TANH,
        "y = (exp(2 x) - 1) / (exp(2 x) + 1), as written",
        "For small x it subtracts 1 from a number near 1; for large x it is infinity over infinity.",
    ),
    "tanh-gradient-not-squared": MistakePage(
        _TANH,
        "gx = gy (1 - |y|)",
        "The square is lost. At 0 and far away the two agree.",
    ),
    "tanh-in-bfloat16": MistakePage(
        "float32 data computed in float32",
        "float32 data computed in bfloat16",
        "An autocast region that reaches further than was meant.",
    ),
}

DROPOUT: dict[str, MistakePage] = {
    "dropout-unscaled": MistakePage(
        _DROPOUT,
        "training: y = mask x",
        "The first paper (Srivastava and others 2014) scales at test time in place of it. Doing neither, training and "
        "evaluation see different sizes.",
    ),
    "dropout-scaled-by-p": MistakePage(
        _DROPOUT,
        "training: y = mask x / p",
        "p is the probability of being dropped in torch, and that of being kept in the paper and in TensorFlow 1's "
        "keep_prob. At p = 0.5 the two agree.",
    ),
    "dropout-in-eval": MistakePage(
        "eval: y = x",
        "eval: y = mask x / (1 - p)",
        "model.eval() was forgotten, or training=True is the default of a function. Results then change from call to "
        "call.",
    ),
    "dropout-gradient-unmasked": MistakePage(
        _DROPOUT,
        "gx = gy / (1 - p)",
        "What was dropped had no part in the loss.",
    ),
    "dropout-gradient-unscaled": MistakePage(
        _DROPOUT,
        "gx = mask gy",
        "The scale of the forward pass is forgotten in the backward pass.",
    ),
    "dropout-gradient-draws-again": MistakePage(
        _DROPOUT,
        "gx = another mask gy / (1 - p)",
        "A forward pass that is computed again for the backward pass, as in checkpointing, without the state of the "
        "random numbers.",
    ),
}

FLATTEN: dict[str, MistakePage] = {
    "flatten-column-major": MistakePage(
        "the last of the flattened axes runs fastest",
        "the first of the flattened axes runs fastest",
        "The order of Fortran, MATLAB and Julia. A weight trained on one order means nothing for the other.",
    ),
    "flatten-gradient-column-major": MistakePage(
        "gx = gy in the shape of x, the last axis fastest",
        "gx = gy in the shape of x, the first axis fastest",
        "Forward and backward agree on the size, and not on the order.",
    ),
}
