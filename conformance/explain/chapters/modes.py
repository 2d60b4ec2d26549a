"""What train and eval change, and in which order a step goes."""

from __future__ import annotations

from conformance.explain.chapters.chapter import Chapter
from conformance.explain.experiment import by_hand
from conformance.explain.page import Drawing
from conformance.explain.pages import MISTAKE_PAGES
from conformance.explain.trial import Trial

_BATCH = [[2.0], [4.0], [7.0], [9.0]]  # mean 5.5, biased variance 7.25
_GRADS = [[1.0], [-2.0], [0.5], [3.0]]


def eval_mode() -> Chapter:
    trained = by_hand(
        "BatchNorm1d", [_BATCH, _BATCH], steps=("train", "eval"), grads=[_GRADS, _GRADS]
    )  # running mean 0.55, running variance 0.9 + 0.1 * 7.25 * 4 / 3
    page = MISTAKE_PAGES["batch-statistics-in-eval"]
    return Chapter(
        (
            (
                "eval() makes BatchNorm normalise with its running statistics, which then are constants: the output "
                "of one sample no longer depends on the others, the buffers stand still, and no gradient goes through"
                " them."
            ),
            Trial(
                trained,
                "output",
                (0, 0),
                "the output for x = 2 in eval mode, after one training step on the same batch",
                (page.right, "(2 - 0.55) / sqrt(0.9 + 0.1 * 7.25 * 4 / 3 + 1e-5)"),
                {"batch-statistics-in-eval": "(2 - 5.5) / sqrt(7.25 + 1e-5)"},
                step=1,
            ),
            Trial(
                trained,
                "buffer.running_mean",
                (0,),
                "running_mean[0] after that eval step",
                (MISTAKE_PAGES["buffers-updated-in-eval"].right, ""),
                {"buffers-updated-in-eval": "0.9 * 0.55 + 0.1 * 5.5"},
                step=1,
            ),
            Trial(
                trained,
                "grad_input",
                (3, 0),
                "the gradient for x = 9 in eval mode, upstream gradient 3",
                (MISTAKE_PAGES["eval-grad-as-in-training"].right, "3 / sqrt(0.9 + 0.1 * 7.25 * 4 / 3 + 1e-5)"),
                {"eval-grad-as-in-training": ""},
                step=1,
            ),
        ),
        ("track-running-stats", "train-step-order", "batch-statistics-in-eval"),
    )


def track_running_stats() -> Chapter:
    page = MISTAKE_PAGES["untracked-eval-as-standard"]
    untracked = by_hand("BatchNorm1d", [_BATCH], steps=("eval",), track_running_stats=False)
    return Chapter(
        (
            (
                "With track_running_stats=False there are no buffers, and eval mode has nothing to normalise with but"
                " the batch: train and eval give the same output. It is the default of InstanceNorm and not of "
                "BatchNorm."
            ),
            Trial(
                untracked,
                "output",
                (0, 0),
                "the output for x = 2 in eval mode without running statistics",
                (page.right, "(2 - 5.5) / sqrt(7.25 + 1e-5)"),
                {"untracked-eval-as-standard": "(2 - 0) / sqrt(1 + 1e-5)"},
            ),
        ),
        ("eval-mode", "running-mean"),
    )


def train_step_order() -> Chapter:
    both = by_hand(
        "BatchNorm1d",
        [_BATCH, _BATCH],
        steps=("train", "eval"),
        buffers={"running_mean": 3.0, "running_var": 2.0},
    )
    page = MISTAKE_PAGES["running-statistics-in-training"]
    return Chapter(
        (
            Drawing(
                (
                    "1  forward    y from the batch's own mean and variance, never from the running ones",
                    "2             the running statistics take in the batch's, once",
                    "3  backward   gradients, through the batch's mean and variance as well; buffers have none",
                    "4  optimizer  weight and bias move; the running statistics do not belong to it",
                    "5  eval       y from the running statistics as step 2 left them, with the new weight and bias",
                )
            ),
            Trial(
                both,
                "output",
                (0, 0),
                "step 1: the training output for x = 2, in a layer whose running mean is 3 and variance 2",
                (page.right, "(2 - 5.5) / sqrt(7.25 + 1e-5)"),
                {"running-statistics-in-training": "(2 - 3) / sqrt(2 + 1e-5)"},
            ),
            Trial(
                both,
                "buffer.running_mean",
                (0,),
                "step 2: the running mean after that step",
                (MISTAKE_PAGES["buffers-updated-twice"].right, "0.9 * 3 + 0.1 * 5.5"),
                {"buffers-updated-twice": "0.9 * (0.9 * 3 + 0.1 * 5.5) + 0.1 * 5.5", "buffers-not-updated": ""},
            ),
            Trial(
                both,
                "output",
                (0, 0),
                "step 5: the eval output for x = 2, with the buffers of step 2",
                (
                    MISTAKE_PAGES["batch-statistics-in-eval"].right,
                    "(2 - 3.25) / sqrt(0.9 * 2 + 0.1 * 7.25 * 4 / 3 + 1e-5)",
                ),
                {"buffers-not-updated": "(2 - 3) / sqrt(2 + 1e-5)"},
                step=1,
            ),
        ),
        ("eval-mode", "running-mean", "buffers-updated-twice"),
    )
