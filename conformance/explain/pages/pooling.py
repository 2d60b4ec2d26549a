"""Mistakes in pooling."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

_MEAN = "y = sum of the window / number of its elements"

POOLING: dict[str, MistakePage] = {
    "ties-to-the-last": MistakePage(
        "gx goes to the first of equal maxima",
        "gx goes to the last of equal maxima",
        "`>=` in place of `>` in the search. After a ReLU whole windows are 0, so that ties are common.",
    ),
    "padding-counts-as-zero": MistakePage(
        "y = max over the window, with -infinity in the padding",
        "y = max over the window, with 0 in the padding",
        "Where all values at an edge are negative, the padding wins. After a ReLU nothing is negative.",
    ),
    "overlap-overwritten": MistakePage(
        "gx[i] = sum over all windows that select i of gy",
        "gx[i] = gy of the last window that selects i",
        "A scatter in place of a scatter-add. Windows that do not overlap do not show it.",
    ),
    "maximum-gradient-everywhere": MistakePage(
        "gx goes to the maximum of the window alone",
        "gx goes to every element of the window",
        "The backward pass of a sum in place of that of a maximum.",
    ),
    "pooling-dilation-ignored": MistakePage(
        "y[i] = max over p of x[i + dilation p]",
        "y[i] = max over p of x[i + p]",
        "A dilation of 1, the default, does not show it.",
    ),
    "count-include-pad-inverted": MistakePage(
        "count_include_pad=True: padding counts among the elements of a window",
        "count_include_pad=True: it does not",
        "The defaults differ: torch's is True, ONNX's count_include_pad is 0. Only windows at the edge show it.",
    ),
    "divisor-override-ignored": MistakePage(
        "divisor_override=d: y = sum of the window / d",
        _MEAN,
        "ONNX's AveragePool has no such attribute.",
    ),
    "sum-for-mean": MistakePage(
        _MEAN,
        "y = sum of the window",
        "The division is forgotten, as divisor_override=1 does on purpose.",
    ),
    "average-gradient-undivided": MistakePage(
        "gx = sum over the windows that hold it of gy / number of elements",
        "gx = sum over the windows that hold it of gy",
        "The division of the forward pass is forgotten in the backward pass.",
    ),
    "overhang-counted": MistakePage(
        "ceil_mode=True: what hangs over the padded input does not count",
        "ceil_mode=True: a window always counts all of its kernel",
        "Only sizes that the stride does not divide show it.",
    ),
}
