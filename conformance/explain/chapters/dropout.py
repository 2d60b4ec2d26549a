"""Dropout: when it scales, and by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from conformance.explain.chapters.chapter import Chapter
from conformance.explain.experiment import Experiment, seen_by, version_of
from conformance.explain.page import Contrast, Formula, Seen, Yours
from conformance.explain.trial import Runner
from conformance.inputs import Inputs, StepInputs
from conformance.observation import Observation, Unsupported
from conformance.suite.case import Case, Mode, Origin

_P = 0.2
_SIZE = 1000


def _experiment(mode: Mode) -> Experiment:
    """A thousand ones: what is kept shows the scale, and how many are kept the probability."""
    case = Case(
        id="explain::Dropout",
        key="explain-Dropout",
        op="Dropout",
        args={"p": _P, "inplace": False},
        shape=(1, _SIZE),
        steps=(mode,),
        origin=Origin("explain", 1, 1),
    )
    ones = np.ones((1, _SIZE), np.float32)
    return Experiment(case, Inputs({}, {}, (StepInputs(ones, ones),)))


@dataclass(frozen=True, slots=True)
class Kept:
    """What becomes of a 1 that is kept."""

    mode: Mode
    what: str
    right: Formula
    wrong: tuple[Formula, ...]

    def contrast(self) -> Contrast:
        value = _kept(seen_by(_experiment(self.mode)))
        return Contrast(self.what, self.right, self.wrong, (Seen(version_of("torch-cpu"), value),), 2.0**-24)

    def yours(self, run: Runner) -> Yours:
        try:
            seen = run(_experiment(self.mode))
        except Unsupported as misfit:
            return Yours(self.what, None, self.right, (), f"asked of Dropout: {misfit}", asked=False)
        if seen.raised is not None:
            return Yours(self.what, None, self.right, (), f"yours raised {seen.raised.type}: {seen.raised.message}")
        value = _kept(seen)
        near = tuple(each for each in (self.right, *self.wrong) if abs(value - each.value) <= 1e-6 * each.value)
        return Yours(self.what, value, self.right, near)


def _kept(seen: Observation) -> float:
    """The value of what is not dropped; NaN where kept values differ, since then nothing is one number."""
    output = seen.steps[0].arrays["output"]
    kept = np.unique(output[output != 0])
    return float(kept[0]) if len(kept) == 1 else float("nan")


def dropout_scaling() -> Chapter:
    return Chapter(
        (
            (
                f"torch.nn.Dropout(p={_P}) is inverted dropout: p is the probability of being dropped, what is kept "
                "in training is scaled up, so that its mean stays, and eval mode does nothing. The first paper "
                "(Srivastava and others 2014) names p the probability of being kept, and scales down at test time in"
                " place of it."
            ),
            Kept(
                "train",
                f"what becomes of a 1 that is kept in training, p = {_P}",
                Formula("y = x / (1 - p)", 1 / (1 - _P), "1 / (1 - 0.2)"),
                (
                    Formula("y = x, scaled only at test time, as in the paper", 1.0),
                    Formula("y = x / p, with p taken for the probability of being kept", 1 / _P, "1 / 0.2"),
                    Formula("y = x (1 - p), the scale of test time in training", 1 - _P, "1 * (1 - 0.2)"),
                ),
            ),
            Kept(
                "eval",
                f"what becomes of a 1 in eval mode, p = {_P}",
                Formula("y = x", 1.0),
                (
                    Formula("y = x (1 - p), as in the paper", 1 - _P, "1 * (1 - 0.2)"),
                    Formula("y = x / (1 - p), the scale of training in eval mode", 1 / (1 - _P), "1 / (1 - 0.2)"),
                ),
            ),
            "The backward pass uses the same mask and the same scale. A dropped value is 0 and has the gradient 0.",
        ),
        ("eval-mode", "train-step-order"),
    )
