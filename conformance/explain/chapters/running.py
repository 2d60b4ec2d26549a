"""Running mean, running variance and the momentum that moves them."""

from __future__ import annotations

from conformance.explain.chapters.chapter import Chapter
from conformance.explain.experiment import Experiment, by_hand
from conformance.explain.pages import MISTAKE_PAGES
from conformance.explain.trial import Trial

_BATCH = [[2.0, -1.0], [4.0, 0.5], [7.0, 3.0], [9.0, 1.5]]  # channel 0: mean 5.5, biased variance 7.25
_SECOND = [[1.0, 2.0], [3.0, -2.0], [8.0, 0.25], [4.0, 1.0]]  # channel 0: mean 4, biased variance 6.5
_MEAN = MISTAKE_PAGES["momentum-swapped"].right


def _two_steps(momentum: float | None = 0.1) -> Experiment:
    return by_hand("BatchNorm1d", [_BATCH, _SECOND], steps=("train", "train"), momentum=momentum)


def running_mean() -> Chapter:
    return Chapter(
        (
            (
                "In training mode a layer normalises with the batch's own statistics and moves its running statistics "
                "towards them; momentum is the weight of the new value. They start at mean 0 and variance 1."
            ),
            Trial(
                _two_steps(),
                "buffer.running_mean",
                (0,),
                "running_mean[0] after 1 training step (the batch mean is 5.5, the momentum 0.1)",
                (_MEAN, "0.9 * 0 + 0.1 * 5.5"),
                {
                    "momentum-swapped": "0.1 * 0 + 0.9 * 5.5",
                    "buffers-replaced": "",
                    "buffers-not-updated": "",
                },
            ),
            Trial(
                _two_steps(),
                "buffer.running_mean",
                (0,),
                "running_mean[0] after 2 training steps (the second batch mean is 4)",
                (_MEAN, "0.9 * 0.55 + 0.1 * 4"),
                {"momentum-additive": "0.55 + 0.1 * 4", "momentum-swapped": "0.1 * 4.95 + 0.9 * 4"},
                step=1,
            ),
            "torch's momentum weighs the new value; Keras, ONNX and many textbooks weigh the old one.",
        ),
        ("momentum", "momentum-none", "momentum-swapped"),
    )


def running_var() -> Chapter:
    right = MISTAKE_PAGES["running-var-biased"].right
    return Chapter(
        (
            (
                "The variance that normalises divides by n; the one that is stored divides by n - 1, since it is an "
                "estimate for data that is yet to come."
            ),
            Trial(
                _two_steps(),
                "buffer.running_var",
                (0,),
                "running_var[0] after 1 training step (v = 7.25 over n = 4 values, the momentum 0.1)",
                (right, "0.9 * 1 + 0.1 * 7.25 * 4 / 3"),
                {
                    "running-var-biased": "0.9 * 1 + 0.1 * 7.25",
                    "running-std": "0.9 * 1 + 0.1 * sqrt(7.25 * 4 / 3)",
                    "momentum-swapped": "0.1 * 1 + 0.9 * 7.25 * 4 / 3",
                },
            ),
            "With n = 4 the two differ by a third, with n = 4096 by 0.02 %: tests on large batches do not see it.",
        ),
        ("biased-unbiased", "running-mean", "running-var-biased"),
    )


def momentum() -> Chapter:
    return Chapter(
        (
            (
                "Both conventions exist under one name. torch: momentum is the weight of the new value, 0.1 by "
                "default. ONNX's BatchNormalization and Keras: it is the weight of the old value, 0.9 and 0.99 by "
                "default. To carry a value over, take 1 - momentum."
            ),
            Trial(
                by_hand("BatchNorm1d", [_BATCH], momentum=0.25),
                "buffer.running_mean",
                (0,),
                "running_mean[0] after 1 training step, written as momentum = 0.25 (the batch mean is 5.5)",
                (_MEAN, "0.75 * 0 + 0.25 * 5.5"),
                {"momentum-swapped": "0.25 * 0 + 0.75 * 5.5"},
                elsewhere={
                    "onnx-training": ("momentum-swapped", "ONNX's own definition, with the attribute momentum = 0.25")
                },
            ),
            "At 0.5 the two are the same, so that no test at 0.5 can tell them apart.",
        ),
        ("running-mean", "momentum-none", "momentum-swapped"),
    )


def momentum_none() -> Chapter:
    right = MISTAKE_PAGES["cumulative-average-as-default"].right
    return Chapter(
        (
            (
                "momentum=None asks for the plain average of all batches so far: the new value weighs 1 / k in step k, "
                "which num_batches_tracked counts. It does not ask for the default."
            ),
            Trial(
                _two_steps(None),
                "buffer.running_mean",
                (0,),
                "running_mean[0] after 2 training steps with momentum=None (the batch means are 5.5 and 4)",
                (right, "5.5 + (4 - 5.5) / 2"),
                {
                    "cumulative-average-as-default": "0.9 * 0.55 + 0.1 * 4",
                    "cumulative-average-off-by-one": "5.5 / 2 + (4 - 5.5 / 2) / 3",
                },
                step=1,
            ),
            Trial(
                _two_steps(0.0),
                "buffer.running_mean",
                (0,),
                "running_mean[0] after 2 training steps with momentum=0.0, which is not None",
                (MISTAKE_PAGES["momentum-zero-as-none"].right, ""),
                {"momentum-zero-as-none": "5.5 + (4 - 5.5) / 2"},
                step=1,
            ),
        ),
        ("momentum", "cumulative-average-off-by-one", "momentum-zero-as-none"),
    )
