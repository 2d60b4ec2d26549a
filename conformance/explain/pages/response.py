"""Mistakes in local response normalisation."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

_RIGHT = "a[c] = k + alpha / size * sum over the window of x^2,  y = x a^-beta"
_GRADIENT = "gx[i] = gy[i] a[i]^-beta - 2 alpha beta / size x[i] * sum over the j with i in W(j) of gy x a^(-beta-1)"

RESPONSE: dict[str, MistakePage] = {
    "alpha-not-divided": MistakePage(
        _RIGHT,
        "a[c] = k + alpha * sum over the window of x^2",
        "The paper (Krizhevsky, Sutskever and Hinton 2012) and TensorFlow multiply the sum by alpha; torch, Caffe "
        "and ONNX divide alpha by the size first.",
    ),
    "window-on-the-other-side": MistakePage(
        "W(c) = c - floor(size / 2) .. c + floor((size - 1) / 2)",
        "W(c) = c - floor((size - 1) / 2) .. c + floor(size / 2)",
        "Of an even window torch has the longer half below the channel, ONNX's LRN above it. Odd sizes are the same.",
    ),
    "window-too-wide": MistakePage(
        "W(c) = c - floor(size / 2) .. c + floor((size - 1) / 2): size channels",
        "W(c) = c - size .. c + size: 2 size + 1 channels",
        "TensorFlow's depth_radius is the reach on each side; torch's size is the whole window.",
    ),
    "window-of-one": MistakePage(
        _RIGHT,
        "a[c] = k + alpha / size * x[c]^2",
        "The sum over the channels is left out.",
    ),
    "edges-averaged-over-present": MistakePage(
        _RIGHT + ", size even at the edges",
        "a[c] = k + alpha * mean over the channels of the window that exist of x^2",
        "avg_pool with count_include_pad=False. torch pads with zeros and divides by size everywhere.",
    ),
    "k-ignored": MistakePage(
        _RIGHT,
        "a[c] = 1 + alpha / size * sum over the window of x^2",
        "torch's default of k is 1; AlexNet's k is 2.",
    ),
    "square-root-for-beta": MistakePage(
        _RIGHT,
        "y = x / sqrt(a)",
        "The paper's beta is 0.75, and 0.5 makes the faster kernel.",
    ),
    "magnitudes-for-squares": MistakePage(
        _RIGHT,
        "a[c] = k + alpha / size * sum over the window of |x|",
        "Pooling the input in place of its square. Values of size 1 do not show it.",
    ),
    "response-grad-without-window": MistakePage(
        _GRADIENT,
        "gx[i] = gy[i] a[i]^-beta",
        "The divisor is taken for a constant. With the default alpha of 1e-4 it nearly is one.",
    ),
    "response-grad-window-not-mirrored": MistakePage(
        _GRADIENT,
        "the same, with the sum over the j in W(i)",
        "An input counts in the windows that hold it, and for an even size those are not the ones that it sees.",
    ),
}
