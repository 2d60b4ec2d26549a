"""Inputs of networks: signals keep their size, and every parameter has the values and dtype of its layer."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.backends.torch_module import TorchModule
from conformance.inputs import make_inputs
from conformance.ops import OPS

SHAPES = {"MLP": (32, 24), "LeNet": (6, 1, 16, 16), "BasicBlock": (4, 8, 6, 6), "DenseBlock": (4, 8, 6, 6)}


@pytest.mark.parametrize("op", SHAPES)
def test_signals_keep_their_size_through_the_network(op, case_of):
    args = {"MLP": {"hidden_channels": [32] * 6}, "BasicBlock": {"channels": 8}}.get(op, {})
    case = case_of(op, SHAPES[op], steps=("train", "eval"), **args)
    observed = TorchModule("torch", "cpu").run(case, make_inputs(case))
    assert [bool(step.modules) for step in observed.steps] == [True, True]
    for step in observed.steps:
        for call in step.modules:
            assert 0.05 < np.sqrt(np.mean(call.arrays["output"].astype(float) ** 2)) < 20, call


def test_names_shapes_and_dtypes_are_those_of_the_entry(case_of):
    case = case_of("LeNet", (2, 1, 16, 16), "bfloat16", param_dtype="float32")
    inputs = make_inputs(case)
    assert {name: array.shape for name, array in inputs.params.items()} == OPS["LeNet"].parameters(case.args)
    assert {name: array.shape for name, array in inputs.buffers.items()} == OPS["LeNet"].buffers(case.args)
    assert inputs.params["features.0.weight"].dtype.name == "bfloat16"
    assert inputs.params["features.1.weight"].dtype.name == "float32"
    assert inputs.buffers["features.1.num_batches_tracked"] == 7


def test_defaults_leave_norms_alone_and_other_layers_random(case_of):
    inputs = make_inputs(case_of("LeNet", (2, 1, 16, 16), params="default", buffers="default"))
    assert (inputs.params["features.1.weight"] == 1).all()
    assert (inputs.params["features.1.bias"] == 0).all()
    assert (inputs.buffers["features.1.running_var"] == 1).all()
    assert np.std(inputs.params["features.0.weight"]) > 0


def test_the_upstream_gradient_has_the_shape_of_the_output(case_of):
    step = make_inputs(case_of("LeNet", (2, 1, 16, 16))).steps[0]
    assert step.grad_output.shape == (2, 10)
    assert step.grad_output.mean() > 0  # biased, so that a missing mean of it shows
