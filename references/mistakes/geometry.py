"""Mistakes in what is normalised together: axes, groups, tails.

The wrong statistics are laid out at every element, (slices, elements), since they no longer belong to one slice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from references.mistakes.catalogue import CENTRED, NORMS, Mistake, right


def _uncentred_again(_self: Any, x: Any, m: Any, *, constant: bool) -> Any:  # noqa: ARG001 - the method's signature
    """x - m and no more: to centre a slice once more would mend a mean that is not its own."""
    return x - m


def _averaged(self: Any, values: Any) -> Any:
    """per_channel() of statistics that are laid out at every element: buffers take their average."""
    return right(self).per_channel(values.mean(axis=1, keepdims=True) if values.shape[1] > 1 else values)


def _moments(self: Any, blocks: Any, axes: tuple[int, ...]) -> Any:
    """Mean and biased variance over some axes, laid out at every element."""
    m = blocks.mean(axis=axes, keepdims=True) if self.centred else np.zeros_like(blocks)
    v = ((blocks - m) ** 2).mean(axis=axes, keepdims=True)
    return np.broadcast_to(m, blocks.shape), np.broadcast_to(v, blocks.shape)


def _over(view: Any, axes: tuple[int, ...]) -> Any:
    """statistics() over ``axes`` of ``view(self, x, fold)``, x seen in another shape with the elements in order."""

    def statistics(self: Any, x: Any, fold: Any) -> Any:
        if not x.size:
            return right(self).statistics(x, fold)
        m, v = _moments(self, x.reshape(view(self, x, fold)), axes)
        return m.reshape(x.shape), v.reshape(x.shape)

    return statistics


def _over_leading(self: Any, x: Any, fold: Any) -> Any:
    """Statistics over the rows; an input without leading axes has none to mistake for the trailing ones."""
    if len(self.args["normalized_shape"]) == len(fold.shape):
        return right(self).statistics(x, fold)
    return _over(lambda _self, rows, _fold: rows.shape, (0,))(self, x, fold)


def _everything(_self: Any, x: Any, _fold: Any) -> Any:
    return (x.size,)


def _channel_sample_pixel(_self: Any, x: Any, fold: Any) -> Any:  # BatchNorm folds to (C, N * pixels)
    return (x.shape[0], fold.shape[0], -1)


def _sample_channel_pixel(self: Any, x: Any, _fold: Any) -> Any:  # InstanceNorm folds to (N * C, pixels)
    return (-1, int(self.args["num_features"]), x.shape[1])


def _row_and_last_axis(_self: Any, x: Any, fold: Any) -> Any:  # LayerNorm folds to (rows, normalized)
    return (x.shape[0], -1, fold.shape[-1])


def _interleaved(self: Any, x: Any, fold: Any) -> Any:
    """Groups of every num_groups-th channel: (N, C / G, G, pixels), reduced over C / G and pixels."""
    groups = int(self.args["num_groups"])
    return (fold.shape[0], fold.shape[1] // groups, groups, -1) if x.size else x.shape


def _per_channel_of_group(_self: Any, x: Any, fold: Any) -> Any:
    return (fold.shape[0], fold.shape[1], -1) if x.size else x.shape


def _per_sample(_self: Any, _x: Any, fold: Any) -> Any:
    return (fold.shape[0], -1)


def _on(part: Any) -> Any:
    """statistics() of some of the elements, or of some of them twice."""

    def statistics(self: Any, x: Any, fold: Any) -> Any:
        return right(self).statistics(part(x) if x.shape[1] > 1 else x, fold)

    return statistics


def _padded(self: Any, x: Any, fold: Any) -> Any:
    """Sums are divided by n rounded up to the next multiple of eight."""
    m, v = right(self).statistics(x, fold)
    n = x.shape[1]
    share = self.real(n) / self.real(-(-n // 8) * 8 or 1)
    return m * share, v * share


_LAID_OUT: dict[str, Any] = {"per_channel": _averaged, "centre": _uncentred_again}

GEOMETRY = (
    Mistake(
        "statistics-over-everything", "one mean and variance for the whole tensor", "output", NORMS,
        {"statistics": _over(_everything, (0,)), "centre": _uncentred_again},
    ),
    Mistake(
        "batch-norm-per-pixel", "statistics over the batch alone: every pixel normalised by itself", "output",
        ("batch_norm",), {"statistics": _over(_channel_sample_pixel, (1,)), **_LAID_OUT},
    ),
    Mistake(
        "batch-norm-per-sample", "InstanceNorm in place of BatchNorm: each sample has its own statistics", "output",
        ("batch_norm",), {"statistics": _over(_channel_sample_pixel, (2,)), **_LAID_OUT},
    ),
    Mistake(
        "instance-norm-over-batch", "BatchNorm in place of InstanceNorm: samples share their statistics", "output",
        ("instance_norm",), {"statistics": _over(_sample_channel_pixel, (0, 2)), **_LAID_OUT},
    ),
    Mistake(
        "instance-norm-over-channels", "LayerNorm in place of InstanceNorm: channels share their statistics", "output",
        ("instance_norm",), {"statistics": _over(_sample_channel_pixel, (1, 2)), **_LAID_OUT},
    ),
    Mistake(
        "layer-norm-over-batch", "statistics over the leading axes in place of the trailing ones", "output",
        ("layer_norm", "rms_norm"),
        {"statistics": _over_leading, "centre": _uncentred_again},
    ),
    Mistake(
        "layer-norm-over-last-axis", "only the last axis of a longer normalized_shape is reduced", "output",
        ("layer_norm", "rms_norm"), {"statistics": _over(_row_and_last_axis, (2,)), "centre": _uncentred_again},
    ),
    Mistake(
        "groups-interleaved", "group g takes channels g, g + G, g + 2G in place of neighbours", "output",
        ("group_norm",), {"statistics": _over(_interleaved, (1, 3)), "centre": _uncentred_again},
    ),
    Mistake(
        "groups-ignored", "one group of all channels, whatever num_groups says", "output", ("group_norm",),
        {"statistics": _over(_per_sample, (1,)), "centre": _uncentred_again},
    ),
    Mistake(
        "groups-of-one", "every channel is its own group", "output", ("group_norm",),
        {"statistics": _over(_per_channel_of_group, (2,)), "centre": _uncentred_again},
    ),
    Mistake(
        "tail-dropped", "the last element of each slice is left out of the statistics", "output", NORMS,
        {"statistics": _on(lambda x: x[:, :-1]), "centre": _uncentred_again},
    ),
    Mistake(
        "tail-counted-twice", "the last element of each slice is counted twice", "output", NORMS,
        {"statistics": _on(lambda x: np.concatenate([x, x[:, -1:]], axis=1)), "centre": _uncentred_again},
    ),
    Mistake(
        "head-dropped", "the first element of each slice is left out of the statistics", "output", NORMS,
        {"statistics": _on(lambda x: x[:, 1:]), "centre": _uncentred_again},
    ),
    Mistake(
        "padding-counted", "sums are divided by n rounded up to a multiple of 8", "output", NORMS,
        {"statistics": _padded, "centre": _uncentred_again},
    ),
    Mistake(
        "mean-of-the-neighbour", "the mean of another slice is subtracted", "output", CENTRED,
        {"centre": lambda _self, x, m, *, constant: x - np.roll(m, 1, axis=0)},  # noqa: ARG005 - the method's signature
    ),
)  # fmt: skip
