"""Which axes each layer reduces, drawn from the references' own geometry."""

from __future__ import annotations

from string import ascii_letters
from typing import Any

import numpy as np

from conformance.explain.chapters.chapter import Chapter
from conformance.explain.experiment import Experiment, by_hand
from conformance.explain.page import Drawing
from conformance.explain.trial import Trial
from conformance.reference import build_reference

_SHAPE = (2, 4, 2, 2)  # N, C, H, W
#: distinct scales and centres for every sample and channel, so that no two slices are alike
_X = np.arange(1.0, 33.0).reshape(_SHAPE) ** 1.5 * np.array([1.0, -0.5, 2.0, 0.25]).reshape(1, 4, 1, 1)
_AT = (1, 2, 0, 1)

#: op, arguments, axes in words, the mistake that its neighbour in the list is
_LAYERS: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("BatchNorm2d", {}, "over N, H, W: one mean for each channel", "batch-norm-per-sample"),
    ("InstanceNorm2d", {}, "over H, W: one for each sample and channel", "instance-norm-over-batch"),
    ("GroupNorm", {"num_groups": 2}, "over C/G, H, W: one for each sample and group of channels", "groups-interleaved"),
    ("LayerNorm", {"normalized_shape": [4, 2, 2]}, "over C, H, W: one for each sample", "layer-norm-over-last-axis"),
    ("LayerNorm", {"normalized_shape": [2]}, "over W alone: one for each row", "layer-norm-over-batch"),
    ("RMSNorm", {"normalized_shape": [4, 2, 2]}, "over C, H, W, as LayerNorm, of squares", "layer-norm-over-last-axis"),
)


def axes() -> Chapter:
    parts: list[str | Drawing | Trial] = [
        (
            "A tensor (N, C, H, W) = (2, 4, 2, 2). Values with the same letter are normalised together: they share "
            "one mean and one variance. BatchNorm in training is the only one that looks beyond its own sample."
        )
    ]
    for op, args, words, mistake in _LAYERS:
        experiment = by_hand(op, [_X], **args)
        given = ", ".join(f"{name}={value}" for name, value in args.items())
        title = f"{op}({given})   {words}"
        parts.append(Drawing((title, *_letters(experiment))))
        square = op == "RMSNorm"
        parts.append(
            Trial(
                experiment,
                "output",
                _AT,
                f"{op}({given}): the output at [n, c, h, w] = {list(_AT)}, where x is {_X[_AT]:.5g}",
                (f"y = {'x' if square else '(x - m)'} / sqrt({'mean x^2' if square else 'v'} + eps), {words}", ""),
                {mistake: ""},
            )
        )
    return Chapter(
        tuple(parts), ("statistics-over-everything", "groups-interleaved", "batch-norm-per-sample", "eval-mode")
    )


def _letters(experiment: Experiment) -> list[str]:
    """One line for each sample and row of pixels; one letter for each slice of the reference."""
    reference: Any = build_reference(experiment.case)
    fold = reference.fold(_SHAPE)
    slices = fold.unfold(np.repeat(np.arange(fold.slices)[:, None], fold.elements, axis=1))
    lines = [" " * 12 + "  ".join(f"C{channel}" for channel in range(_SHAPE[1]))]
    for sample in range(_SHAPE[0]):
        for row in range(_SHAPE[2]):
            cells = (
                "".join(ascii_letters[each] for each in slices[sample, channel, row]) for channel in range(_SHAPE[1])
            )
            lines.append(f"{f'sample {sample}' if row == 0 else '':<12}" + "  ".join(cells))
    return lines
