"""What rounding may and may not explain."""

from __future__ import annotations

import numpy as np

from conformance.explain.chapters.chapter import Chapter
from conformance.explain.chapters.columns import or_batch_norm
from conformance.explain.experiment import by_hand, defined, seen_by, version_of
from conformance.explain.page import Drawing
from conformance.explain.pages import MISTAKE_PAGES
from conformance.explain.trial import Trial
from conformance.inputs.make import stored
from references.rounding import FORMATS

_LONG = 1024


def low_precision_accumulation() -> Chapter:
    page = MISTAKE_PAGES["statistics-accumulated-in-storage-format"]
    ramp = 3.0 + np.linspace(-1.0, 1.0, _LONG)  # positive, so that the sum outgrows its terms
    given = by_hand("LayerNorm", [ramp[None]], dtype="bfloat16", param_dtype="float32")
    return Chapter(
        (
            (
                "bfloat16 has 8 significant bits and float16 has 11. A sum that is kept in them stops growing once "
                "its terms fall below half of its last bit. What is stored in them may still be summed in float32, "
                "and that is what a layer is held to: float32 inside, one rounding when the result is stored."
            ),
            Drawing(tuple(_stagnation())),
            Trial(
                given,
                "output",
                (0, 0),
                f"LayerNorm of {_LONG:,} bfloat16 values around 3, first value",
                (page.right, ""),
                {"statistics-accumulated-in-storage-format": ""},
            ),
        ),
        ("allowance", "grad-weight-accumulated-in-storage-format", "statistics-stored-in-storage-format"),
    )


def _stagnation() -> list[str]:
    lines = ["adding 1 a thousand times:"]
    for dtype in ("bfloat16", "float16", "float32"):
        ones = stored(np.ones(1000), dtype)
        total = float(np.add.accumulate(ones)[-1])
        lines.append(f"  in {dtype:<9} {total:g}")
    terms = stored(np.full(4000, 1.0), "float16")
    lines.append(f"adding 1 four thousand times in float16: {float(np.add.accumulate(terms)[-1]):g}")
    return lines


def one_pass_variance() -> Chapter:
    page = MISTAKE_PAGES["one-pass-variance"]
    x = [3001.0, 3000.5, 2998.0, 3000.0, 2999.5, 3002.0, 3000.0, 2999.0]
    given = by_hand("LayerNorm", [[x]])
    square = float(np.mean(np.square(np.array(x))))
    return Chapter(
        (
            (
                "mean x^2 - (mean x)^2 is the variance, in exact arithmetic. In float32, with a mean of 3000 and a "
                "standard deviation of 1, it subtracts two numbers that agree in six digits, and float32 holds seven."
            ),
            Drawing(
                (
                    f"mean x^2     = {square:.4f}   float32 holds {float(np.float32(square)):.4f}",
                    f"(mean x)^2   = {3000.0**2:.4f}",
                    (
                        f"difference   = {square - 3000.0**2:.4f}   in float32 "
                        f"{float(np.float32(square) - np.float32(3000.0**2)):.4f}"
                    ),
                    f"spacing of float32 numbers there: {float(np.spacing(np.float32(square))):g}",
                )
            ),
            or_batch_norm(
                Trial(
                    given,
                    "output",
                    (0, 5),
                    "LayerNorm of 3001 3000.5 2998 3000 2999.5 3002 3000 2999, the value for 3002",
                    (
                        f"y = (x - m) / sqrt(v + eps),  {page.right}",
                        "(3002 - 3000) / sqrt(1.3125 + 1e-5)",
                    ),
                    {"one-pass-variance": ""},
                )
            ),
            (
                "The error grows with the square of mean / std; with a mean of 1e4 the difference can be negative, "
                "and the output NaN. Two passes, or Welford's update, lose only mean / std."
            ),
        ),
        ("allowance", "statistics-stored-in-storage-format", "low-precision-accumulation"),
    )


def allowance_of_one_number() -> Chapter:
    given = by_hand("LayerNorm", [[[2.0, 4.0, 7.0, 9.0]]])
    quantity = defined(given)[0].quantities["output"]
    at = (0, 0)
    value, scale = float(quantity.value[at]), float(quantity.scale[at])
    form = FORMATS["float32"]
    rounding = form.u * abs(value)
    allowed = scale + rounding + form.eta
    got = float(seen_by(given).steps[0].arrays["output"][at])
    error = abs(got - float(quantity.value[at]))
    return Chapter(
        (
            (
                "There is no tolerance to choose. The allowed error of every number follows from the roundings that a"
                " stable algorithm cannot avoid for these very inputs; error / allowed is the budget used, and 1 the "
                "limit."
            ),
            Drawing(
                (
                    "LayerNorm of 2 4 7 9 in float32, first value",
                    f"  d, the roundings inside (sum, variance, 1/std)   {scale:.4g}",
                    f"  u |y|, one rounding when y is stored             {rounding:.4g}",
                    f"  eta, the smallest subnormal number               {form.eta:.4g}",
                    f"  allowed = d + u |y| + eta                        {allowed:.4g}",
                    f"  error of {version_of('torch-cpu')}".ljust(51) + f"{error:.4g}",
                    f"  budget used = error / allowed                    {error / allowed:.3g}",
                )
            ),
            or_batch_norm(
                Trial(
                    given,
                    "output",
                    at,
                    "the same number, and what a mistake makes of it",
                    ("y = (x - m) / sqrt(v + eps)", "(2 - 5.5) / sqrt(7.25 + 1e-5)"),
                    {
                        "unbiased-variance": "(2 - 5.5) / sqrt(29 / 3 + 1e-5)",
                        "eps-times-ten": "(2 - 5.5) / sqrt(7.25 + 1e-4)",
                    },
                )
            ),
            (
                "d grows with the mean in units of the standard deviation, as the error of a stable algorithm does, "
                "and not with its square, as that of an unstable one. docs/allowance.md has the formulas."
            ),
        ),
        ("low-precision-accumulation", "one-pass-variance", "eps-outside-sqrt"),
    )
