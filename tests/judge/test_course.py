"""Networks under a procedure: wrong updates and resets are caught at the parameter or buffer that they concern."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from conformance.backends.torch_module import TorchModule
from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.judge.course import Course, update_figures
from conformance.observation import StepObservation
from conformance.suite.case import Optimizer

MLP = {"hidden_channels": [5, 4], "norm_layer": "BatchNorm1d", "activation_layer": "Tanh"}
SGD = Optimizer(lr=0.1, momentum=0.9, weight_decay=0.05)


@pytest.fixture
def mlp(case_of):
    return lambda **fields: case_of("MLP", (8, 6), **MLP, **fields)


def wrong(case):
    inputs = make_inputs(case)
    judgement = judge(case, Expectation(case, inputs), TorchModule("torch-cpu", "cpu").run(case, inputs))
    return {figure.quantity for figure in judgement.figures if not figure.ok}


class FirstLayerOnly(torch.optim.SGD):
    """Was given the parameters of the first layer alone."""

    def __init__(self, params, **arguments):
        super().__init__(list(params)[:2], **arguments)


class DecaysWeightsAlone(torch.optim.SGD):
    """As many recipes do: no weight decay for biases and norms."""

    def __init__(self, params, *, weight_decay, **arguments):
        params = list(params)
        decayed, others = [p for p in params if p.dim() > 1], [p for p in params if p.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        super().__init__(groups, **arguments)


def test_a_network_that_trains_as_torch_trains_it_passes(mlp):
    assert not wrong(mlp(steps=("train", "eval", "train"), optimizer=SGD))
    assert not wrong(mlp(steps=("train", "train", "eval"), resets=(1,)))


def test_an_optimizer_that_was_given_one_layer_is_told_by_the_parameters_of_the_others(mlp, monkeypatch):
    monkeypatch.setattr(torch.optim, "SGD", FirstLayerOnly)
    found = wrong(mlp(steps=("train", "train"), optimizer=SGD))
    updated = {name for name in found if name.startswith("param.")}
    assert updated == {"param.1.weight", "param.1.bias", "param.4.weight", "param.4.bias"}
    assert not any("(" in name for name in found)  # every module is right, from the parameters that it has


def test_a_decay_that_leaves_biases_and_norms_out_is_told_by_them(mlp, monkeypatch):
    monkeypatch.setattr(torch.optim, "SGD", DecaysWeightsAlone)
    found = {name for name in wrong(mlp(steps=("train",), optimizer=SGD)) if name.startswith("param.")}
    assert found == {"param.0.bias", "param.1.weight", "param.1.bias", "param.4.bias"}


def test_a_norm_that_does_not_reset_is_named(mlp, monkeypatch):
    monkeypatch.setattr(nn.BatchNorm1d, "reset_running_stats", lambda self: None)
    found = wrong(mlp(steps=("train", "train"), resets=(1,)))
    assert any(name.startswith("1 (BatchNorm1d) buffer.running_mean") for name in found)
    assert not any("Linear" in name for name in found)


def test_a_step_starts_from_what_the_backend_had(mlp):
    case = mlp(steps=("train", "train"), resets=(1,), optimizer=SGD)
    inputs = make_inputs(case)
    course = Course(case, inputs)
    assert course.before(0).params == inputs.params
    seen = {"param.0.bias": np.full(5, 7.0), "momentum.0.bias": np.ones(5), "output": np.zeros(3)}
    course.after(StepObservation(seen | {"buffer.1.running_var": np.full(5, 9.0)}))
    at = course.before(1)
    assert (at.params["0.bias"] == 7).all()
    assert (at.momenta["0.bias"] == 1).all()
    assert (at.buffers["1.running_var"] == 1).all()
    assert at.params["0.weight"] is inputs.params["0.weight"]


def test_a_parameter_that_is_not_shown_is_missed(mlp):
    case = mlp(steps=("train",), optimizer=SGD)
    at = Course(case, make_inputs(case)).before(0)
    figures = list(update_figures(case, at, StepObservation({}), 0, "A"))
    assert {figure.quantity for figure in figures} >= {"param.0.weight", "param.4.bias"}
    assert not any(figure.ok for figure in figures)
