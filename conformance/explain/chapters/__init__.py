"""The pages of the topics: experiments written by hand, one function a page."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from conformance.explain.chapters.chapter import Chapter

#: topic -> the function here that makes its page
_HOMES = {
    "running-mean": "running:running_mean",
    "running-var": "running:running_var",
    "momentum": "running:momentum",
    "momentum-none": "running:momentum_none",
    "eval-mode": "modes:eval_mode",
    "track-running-stats": "modes:track_running_stats",
    "train-step-order": "modes:train_step_order",
    "eps": "formula:eps",
    "affine": "formula:affine",
    "biased-unbiased": "formula:biased_unbiased",
    "axes": "axes:axes",
    "dropout-scaling": "dropout:dropout_scaling",
    "low-precision-accumulation": "precision:low_precision_accumulation",
    "one-pass-variance": "precision:one_pass_variance",
    "allowance": "precision:allowance_of_one_number",
}


def chapter(topic: str) -> Chapter:
    """The page of a topic, before its numbers are computed."""
    home, _, function = _HOMES[topic].partition(":")
    make: Callable[[], Chapter] = getattr(import_module(f"conformance.explain.chapters.{home}"), function)
    return make()
