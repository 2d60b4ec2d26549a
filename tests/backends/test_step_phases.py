"""The steps of a case as graphs."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.backends.onnx_step import OnnxStep
from conformance.backends.step_phases import Phase, phases, trainable, untouched
from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.observation import StepObservation
from conformance.suite.case import Optimizer

MOMENTUM = Optimizer(lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True)


@pytest.fixture(scope="module")
def backend():
    return OnnxStep()


def test_the_first_update_makes_the_momentum_and_the_later_ones_move_it(case_of):
    case = case_of("LayerNorm", steps=("eval", "train", "train", "eval", "train"), optimizer=MOMENTUM)
    first, later = Phase("train", "first"), Phase("train", "later")
    assert phases(case) == (Phase("eval"), first, later, Phase("eval"), later)


def test_without_momentum_all_updates_share_a_graph_and_without_an_optimizer_there_are_none(case_of):
    plain = case_of("LayerNorm", steps=("train", "train"), optimizer=Optimizer(lr=0.1))
    assert set(phases(plain)) == {Phase("train", "first")}
    assert set(phases(case_of("LayerNorm", steps=("train", "eval")))) == {Phase("train"), Phase("eval")}


def test_a_frozen_parameter_is_not_trained(case_of):
    assert trainable(case_of("FrozenTeacher")) == ("student.weight", "student.bias")


def test_what_a_step_does_not_update_is_what_came_out_of_the_step_before(case_of):
    case = case_of("LayerNorm", steps=("train", "eval"), optimizer=MOMENTUM)
    inputs = make_inputs(case)
    arrays = {"output": np.ones(3), "param.weight": np.full(6, 2.0), "momentum.weight": np.full(6, 3.0)}
    kept = untouched(case, inputs, [StepObservation(arrays)], Phase("eval"))
    assert set(kept) == {"param.weight", "momentum.weight"}
    assert kept["momentum.weight"] is arrays["momentum.weight"]


@pytest.mark.parametrize("op", ["LayerNorm", "FrozenTeacher"])
def test_a_whole_training_loop_runs_in_graphs(op, backend, case_of):
    """Forward, backward and update of every step, parameters and momentum handed from one run to the next."""
    shape = {"LayerNorm": (6, 5), "FrozenTeacher": (4, 3, 2, 2)}[op]
    case = case_of(op, shape=shape, steps=("train", "eval", "train"), optimizer=MOMENTUM)
    inputs = make_inputs(case)
    observation = backend.run(case, inputs)
    name = "param.weight" if op == "LayerNorm" else "param.student.weight"
    assert (observation.steps[0].arrays[name] != inputs.params[name.removeprefix("param.")]).any()
    np.testing.assert_array_equal(observation.steps[1].arrays[name], observation.steps[0].arrays[name])
    assert judge(case, Expectation(case, inputs), observation, backend.observes).verdict == "pass"


def test_a_reset_gives_the_graph_the_buffers_of_a_new_layer(backend, case_of):
    case = case_of("BatchNorm2d", shape=(4, 3, 2, 2), steps=("train", "train", "eval"), resets=(1,))
    inputs = make_inputs(case)
    observation = backend.run(case, inputs)
    assert judge(case, Expectation(case, inputs), observation, backend.observes).verdict == "pass"
    assert observation.steps[1].arrays["buffer.num_batches_tracked"] == 1
