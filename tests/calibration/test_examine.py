"""Configurations that once said something about the model or about a framework, and say it again."""

from __future__ import annotations

import pytest

from conformance.calibration.examine import MISTAKES_EVERY, examine


def failures(index):
    """Kind and visibility of what fails on a configuration of seed 1, but for torch in 16 bits and mistakes."""
    outcomes = (outcome for outcome in examine(1, index) if outcome.kind != "mistake" and not outcome.narrow)
    return {(outcome.kind, outcome.visible) for outcome in outcomes if outcome.failed}


@pytest.mark.parametrize("index", [4754, 17412])
def test_an_infinity_does_not_make_a_gradient_with_constant_statistics_exact(index):
    """Eval mode after a training step: float16 data with infinities, running buffers with the errors they carry."""
    assert failures(index) == set()


@pytest.mark.parametrize("index", [994, 2626, 18515])
def test_infinities_in_the_data_are_told_alike_by_every_implementation(index):
    assert failures(index) == set()


@pytest.mark.parametrize("index", [383, 1761])
def test_one_pass_variance_of_onnx_group_normalization_is_a_deviation(index):
    """onnxruntime computes the function that ONNX defines, E[x^2] - E[x]^2, which is negative here."""
    assert failures(index) <= {("onnxruntime", True)}


def test_mistakes_are_planted_in_some_configurations():
    assert any(outcome.kind == "mistake" for outcome in examine(1, MISTAKES_EVERY))
    assert not any(outcome.kind == "mistake" for outcome in examine(1, MISTAKES_EVERY + 1))
