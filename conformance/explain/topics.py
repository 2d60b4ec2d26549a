"""Which topics there are.  Naming them costs nothing; a page is computed when it is asked for."""

from __future__ import annotations

from difflib import get_close_matches

from conformance.errors import UsageError
from conformance.explain.pages import MISTAKE_PAGES

#: topic -> what its page answers
TOPICS: dict[str, str] = {
    "running-mean": "what the running mean is after a training step",
    "running-var": "what the running variance is, and why it is not the variance that normalises",
    "momentum": "which of the two values the momentum weighs, in torch, ONNX and Keras",
    "momentum-none": "what momentum=None asks for",
    "eval-mode": "what eval() changes",
    "track-running-stats": "what a layer without running statistics does in eval mode",
    "eps": "where eps stands, and when it matters",
    "affine": "what weight and bias do, in which order",
    "biased-unbiased": "where n divides and where n - 1",
    "axes": "which axes each layer reduces, drawn",
    "train-step-order": "what happens in which order in a training step",
    "dropout-scaling": "when dropout scales, and by how much",
    "low-precision-accumulation": "what sums in bfloat16 and float16 lose",
    "one-pass-variance": "why E[x^2] - E[x]^2 goes wrong",
    "allowance": "how much error is allowed, computed for one number",
}

#: other names that people type
ALIASES: dict[str, str] = {
    "running-variance": "running-var",
    "running-stats": "running-mean",
    "running-statistics": "running-mean",
    "eval": "eval-mode",
    "train-eval": "eval-mode",
    "epsilon": "eps",
    "weight": "affine",
    "bias": "affine",
    "scale-and-shift": "affine",
    "gamma": "affine",
    "beta": "affine",
    "unbiased": "biased-unbiased",
    "biased": "biased-unbiased",
    "ddof": "biased-unbiased",
    "bessel": "biased-unbiased",
    "normalized-shape": "axes",
    "step-order": "train-step-order",
    "training-step": "train-step-order",
    "dropout": "dropout-scaling",
    "low-precision": "low-precision-accumulation",
    "bfloat16": "low-precision-accumulation",
    "one-pass": "one-pass-variance",
    "welford": "one-pass-variance",
    "tolerance": "allowance",
    "budget": "allowance",
    "cumulative-average": "momentum-none",
}


def resolve(name: str) -> str:
    """The topic or mistake that somebody means.

    Raises:
        UsageError: there is none of this name, nor of one near it.
    """
    asked = name.strip().lower().replace("_", "-").replace(" ", "-")
    if asked in TOPICS or asked in MISTAKE_PAGES:
        return asked
    if asked in ALIASES:
        return ALIASES[asked]
    known = [*TOPICS, *ALIASES, *MISTAKE_PAGES]
    close = get_close_matches(asked, known, n=3, cutoff=0.6) or [each for each in known if asked and asked in each][:3]
    meant = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise UsageError(f"{name!r} is not a topic{meant}", hint="all topics: conformance explain")
