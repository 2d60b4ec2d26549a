"""Mistakes in what is normalised together."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

GEOMETRY: dict[str, MistakePage] = {
    "statistics-over-everything": MistakePage(
        "m = the mean of one slice (a channel, a sample, a group)",
        "m = the mean of the whole tensor",
        "x.mean() without an axis. Data whose slices are alike, such as torch.randn, hardly shows it.",
    ),
    "batch-norm-per-pixel": MistakePage(
        "m[c] = mean over n, h, w of x[n, c, h, w]",
        "m[c, h, w] = mean over n of x[n, c, h, w]",
        "x.mean(0): right for vectors (N, C), and wrong as soon as there are spatial axes.",
    ),
    "batch-norm-per-sample": MistakePage(
        "m[c] = mean over n, h, w of x[n, c, h, w]",
        "m[n, c] = mean over h, w of x[n, c, h, w]",
        "That is InstanceNorm. With a batch of one the two are the same in training.",
    ),
    "instance-norm-over-batch": MistakePage(
        "m[n, c] = mean over h, w of x[n, c, h, w]",
        "m[c] = mean over n, h, w of x[n, c, h, w]",
        "That is BatchNorm. With a batch of one the two are the same in training.",
    ),
    "instance-norm-over-channels": MistakePage(
        "m[n, c] = mean over h, w of x[n, c, h, w]",
        "m[n] = mean over c, h, w of x[n, c, h, w]",
        "That is GroupNorm with one group, or LayerNorm over (C, H, W).",
    ),
    "layer-norm-over-batch": MistakePage(
        "m[n] = mean over the trailing axes of x",
        "m = mean over the leading axes of x",
        "BatchNorm's axes in place of LayerNorm's: x.mean(0) for x.mean(-1). A square input keeps the shapes right.",
    ),
    "layer-norm-over-last-axis": MistakePage(
        "m[n] = mean over all axes of normalized_shape",
        "m[n, ...] = mean over the last axis alone",
        "x.mean(-1) is LayerNorm for a normalized_shape of one axis. LayerNorm([C, H, W]) reduces three.",
    ),
    "groups-interleaved": MistakePage(
        "group g holds the neighbouring channels g C/G .. (g + 1) C/G - 1",
        "group g holds the channels g, g + G, g + 2 G, ...",
        "x.reshape(N, C/G, G, ...) in place of x.reshape(N, G, C/G, ...). Both give G groups of C/G channels.",
    ),
    "groups-ignored": MistakePage(
        "m[n, g] = mean over the channels of group g and all pixels",
        "m[n] = mean over all channels and pixels",
        "num_groups does not arrive: what is left is GroupNorm(1, C).",
    ),
    "groups-of-one": MistakePage(
        "m[n, g] = mean over the channels of group g and all pixels",
        "m[n, c] = mean over the pixels of channel c",
        "The number of groups and the number of channels in a group are confused where they meet: GroupNorm(C, C) "
        "is InstanceNorm.",
    ),
    "tail-dropped": MistakePage(
        "m = (x[1] + ... + x[n]) / n",
        "m = (x[1] + ... + x[n-1]) / (n - 1)",
        "A loop that ends one early, or a vector loop whose remainder is left out. Sizes that are multiples of the "
        "vector's length do not show the second kind.",
    ),
    "tail-counted-twice": MistakePage(
        "m = (x[1] + ... + x[n]) / n",
        "m = (x[1] + ... + x[n] + x[n]) / (n + 1)",
        "A last block that is moved back to end with the data, and overlaps the one before it.",
    ),
    "head-dropped": MistakePage(
        "m = (x[1] + ... + x[n]) / n",
        "m = (x[2] + ... + x[n]) / (n - 1)",
        "A loop that starts at 1, or a first value that was taken for a shift and never counted.",
    ),
    "padding-counted": MistakePage(
        "m = sum x / n",
        "m = sum x / (n rounded up to a multiple of 8)",
        "Kernels pad a row with zeros up to the width of a block; sums are still right, means and variances are "
        "not. Sizes that are powers of two do not show it.",
    ),
    "mean-of-the-neighbour": MistakePage(
        "xh[i] = s[i] (x[i] - m[i])",
        "xh[i] = s[i] (x[i] - m[i - 1])",
        "An index that is off by one slice, as after a reduction whose result is broadcast along the wrong axis.",
    ),
}
