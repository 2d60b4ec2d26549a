"""The formula itself: eps, weight and bias, n or n - 1."""

from __future__ import annotations

from conformance.explain.chapters.chapter import Chapter
from conformance.explain.chapters.columns import or_batch_norm
from conformance.explain.experiment import by_hand
from conformance.explain.pages import MISTAKE_PAGES
from conformance.explain.trial import Trial

_SMALL = [[0.001, 0.004, 0.007, 0.008]]  # mean 0.005, biased variance 7.5e-6
_ROW = [[2.0, 4.0, 7.0, 9.0]]  # mean 5.5, biased variance 7.25


def eps() -> Chapter:
    page = MISTAKE_PAGES["eps-outside-sqrt"]
    return Chapter(
        (
            (
                "eps is added to the variance, inside the square root. It keeps a constant input from dividing 0 by "
                "0, and it changes the result wherever the variance is not far above it."
            ),
            or_batch_norm(
                Trial(
                    by_hand("LayerNorm", [_SMALL]),
                    "output",
                    (0, 0),
                    "LayerNorm of 0.001 0.004 0.007 0.008 (m = 0.005, v = 7.5e-6, eps = 1e-5), first value",
                    ("y = (x - m) / sqrt(v + eps)", "(0.001 - 0.005) / sqrt(7.5e-6 + 1e-5)"),
                    {
                        "eps-outside-sqrt": "(0.001 - 0.005) / (sqrt(7.5e-6) + 1e-5)",
                        "eps-missing": "(0.001 - 0.005) / sqrt(7.5e-6)",
                        "eps-as-floor": "(0.001 - 0.005) / sqrt(1e-5)",
                    },
                ),
            ),
            or_batch_norm(
                Trial(
                    by_hand("LayerNorm", [_ROW]),
                    "output",
                    (0, 0),
                    "LayerNorm of 2 4 7 9 (m = 5.5, v = 7.25, eps = 1e-5): hardly a difference is left",
                    (page.right.replace("s = 1", "y = (x - m)"), "(2 - 5.5) / sqrt(7.25 + 1e-5)"),
                    {"eps-outside-sqrt": "(2 - 5.5) / (sqrt(7.25) + 1e-5)"},
                    hidden=frozenset({"eps-outside-sqrt"}),
                )
            ),
            (
                "Defaults: torch has 1e-5 in BatchNorm, LayerNorm, GroupNorm and InstanceNorm, and the epsilon of the "
                "dtype in which it computes in RMSNorm; Keras has 1e-3 in BatchNormalization and LayerNormalization."
            ),
        ),
        ("eps-outside-sqrt", "eps-missing", "eps-rounded-to-float16"),
    )


def affine() -> Chapter:
    given = by_hand("LayerNorm", [_ROW], params={"weight": [2.0, -0.5, 1.5, 0.25], "bias": [0.5, 1.0, -1.0, 2.0]})
    xh = "(2 - 5.5) / sqrt(7.25 + 1e-5)"
    return Chapter(
        (
            (
                "After normalising, a layer scales by its weight and then adds its bias. They begin as 1 and 0, with "
                "which every order and every sign looks right."
            ),
            or_batch_norm(
                Trial(
                    given,
                    "output",
                    (0, 0),
                    "LayerNorm of 2 4 7 9 with w[0] = 2 and b[0] = 0.5, first value",
                    (MISTAKE_PAGES["bias-before-scale"].right, f"2 * {xh} + 0.5"),
                    {
                        "bias-before-scale": f"2 * ({xh} + 0.5)",
                        "weight-plus-one": f"(1 + 2) * {xh} + 0.5",
                        "bias-ignored": f"2 * {xh}",
                    },
                ),
            ),
            (
                "The bias's gradient is the sum of the upstream gradient, the weight's the sum of gradient times xh; "
                "both over everything that shares the parameter."
            ),
        ),
        ("bias-before-scale", "weight-plus-one", "weight-made-positive"),
    )


def biased_unbiased() -> Chapter:
    page = MISTAKE_PAGES["unbiased-variance"]
    columns = [[2.0], [4.0], [7.0], [9.0]]
    given = by_hand("BatchNorm1d", [columns], momentum=0.5)
    return Chapter(
        (
            (
                "BatchNorm needs both in one step: it normalises with the variance over n, and stores the variance "
                "over n - 1 (Bessel's correction) in running_var."
            ),
            Trial(
                given,
                "output",
                (0, 0),
                "the training output for x = 2 in the batch 2 4 7 9 (sum of squared deviations 29)",
                (f"y = (x - m) / sqrt(v + eps),  {page.right}", "(2 - 5.5) / sqrt(29 / 4 + 1e-5)"),
                {"unbiased-variance": "(2 - 5.5) / sqrt(29 / 3 + 1e-5)"},
            ),
            Trial(
                given,
                "buffer.running_var",
                (0,),
                "running_var[0] after that step, momentum 0.5",
                (MISTAKE_PAGES["running-var-biased"].right, "0.5 * 1 + 0.5 * 29 / 3"),
                {"running-var-biased": "0.5 * 1 + 0.5 * 29 / 4"},
                elsewhere={"onnx-training": ("running-var-biased", "ONNX's own definition stores the biased variance")},
            ),
            "torch.var and torch.std divide by n - 1 by default, numpy.var and numpy.std by n.",
        ),
        ("running-var", "unbiased-variance", "running-var-biased"),
    )
