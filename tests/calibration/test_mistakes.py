"""Planted mistakes are mistakes, and are called what they are called elsewhere."""

from __future__ import annotations

import pytest

from conformance.calibration.apply import PLAIN, Layer
from conformance.calibration.examine import stored_steps
from conformance.calibration.mistakes import PLANTED, PLANTED_IN_WINDOW, planted
from conformance.calibration.stable import RECIPES
from conformance.calibration.visibility import Yardstick
from conformance.calibration.window import WINDOW_FORMS, WindowLayer
from conformance.inputs import make_inputs
from conformance.judge import Expectation
from conformance.judge.verdict import figures_of
from references.mistakes import MISTAKES

STEPS = ("train", "eval", "train")
#: the layer, its shape, its data and its arguments, on which a mistake shows; BatchNorm1d on scaled data where not said
SHOWN = {
    "mean-subtracted": ("RMSNorm", (6, 13), "float32", "scaled", {}),
    "eps-outside-sqrt": ("LayerNorm", (6, 13), "float32", "f1-eps", {}),
    "eps-missing": ("LayerNorm", (6, 13), "float32", "f1-eps", {}),
    "eps-times-ten": ("LayerNorm", (6, 13), "float32", "f1-eps", {}),
    "eps-as-floor": ("LayerNorm", (6, 13), "float32", "f1-eps", {}),
    "eps-rounded-to-float16": ("LayerNorm", (6, 13), "float32", "f1-eps", {}),
    "grad-without-eps": ("LayerNorm", (6, 13), "float32", "f1-eps", {}),
    "running-var-with-eps": ("BatchNorm1d", (13, 4), "float32", "f1-eps", {}),
    "one-pass-variance": ("LayerNorm", (6, 13), "float32", "f3-offset", {}),
    "float32-inside": ("LayerNorm", (6, 13), "float64", "scaled", {}),
    "statistics-accumulated-in-storage-format": ("LayerNorm", (6, 700), "bfloat16", "f6-long-positive", {}),
    "statistics-stored-in-storage-format": ("LayerNorm", (6, 13), "bfloat16", "f3-offset", {}),
    "normalised-rounded-before-affine": ("LayerNorm", (6, 300), "bfloat16", "f8-f16-range", {}),
    "grad-weight-accumulated-in-storage-format": ("BatchNorm1d", (1024, 3), "bfloat16", "f7-stagnation", {}),
    "grad-bias-accumulated-in-storage-format": ("BatchNorm1d", (1024, 3), "bfloat16", "f7-stagnation", {}),
}


def verdicts(case, layer, correct):
    """Whether the layer is visibly wrong, and whether the judge fails it."""
    inputs = make_inputs(case)
    expectation = Expectation(case, inputs)
    yardstick = Yardstick(case, expectation.steps(), [correct.run(inputs)])
    observation = stored_steps(case, layer.run(inputs))
    visible = yardstick.visible([step.arrays for step in observation.steps])
    return visible, not all(figure.ok for figure in figures_of(case, expectation, observation, (), "A"))


@pytest.mark.parametrize("name", PLANTED)
def test_each_mistake_is_visible_and_is_detected_on_data_that_show_it(case_of, name):
    op, shape, dtype, data, args = SHOWN.get(name, ("BatchNorm1d", (13, 4), "float32", "scaled", {}))
    steps = STEPS if op == "BatchNorm1d" else ("train",)
    if name == "momentum-rounded-to-bfloat16":
        args = {"momentum": 0.1}
    case = case_of(op, shape, dtype, data=data, steps=steps, **args)
    assert verdicts(case, PLANTED[name](case, RECIPES[5], PLAIN), Layer(case, RECIPES[5], PLAIN)) == (True, True)


@pytest.mark.parametrize("name", PLANTED_IN_WINDOW)
def test_each_mistake_of_the_window_is_visible_and_is_detected(case_of, name):
    case = case_of("LocalResponseNorm", (2, 7, 3), data="scaled", size=4, alpha=0.5, k=2.0)
    right = WindowLayer(case, WINDOW_FORMS[0])
    assert verdicts(case, PLANTED_IN_WINDOW[name](case, WINDOW_FORMS[0]), right) == (True, True)


def test_what_is_not_mistaken_is_neither(case_of):
    case = case_of("BatchNorm1d", (13, 4), data="scaled", steps=STEPS)
    assert verdicts(case, Layer(case, RECIPES[0], PLAIN), Layer(case, RECIPES[5], PLAIN)) == (False, False)


def test_there_are_more_than_thirty_under_the_names_of_the_catalogue():
    names = [*PLANTED, *PLANTED_IN_WINDOW]
    assert len(names) == len(set(names)) > 30
    assert set(names) <= set(MISTAKES)


def test_only_mistakes_that_can_be_made_in_a_case_are_planted(case_of):
    plain = {name for name, _ in planted(case_of("LayerNorm", (4, 8), elementwise_affine=False))}
    assert "eps-missing" in plain
    assert not plain & {"weight-plus-one", "bias-ignored", "grad-weight-uncentred", "running-var-biased"}
    assert "float32-inside" not in plain
    assert "float32-inside" in {name for name, _ in planted(case_of("LayerNorm", (4, 8), "float64"))}
