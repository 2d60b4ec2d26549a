"""The formula in a script gives the reference's number."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from conformance.backends import load
from conformance.ops import OPS
from conformance.record import Figure
from conformance.repro.block import Block
from conformance.repro.definition import _WRITERS, _gives, definition_block, expected_quantity
from conformance.repro.given import given_block
from conformance.repro.update import known_before
from conformance.suite.case import Optimizer

CASES = [
    ("BatchNorm2d", (4, 3, 2, 5), {}),
    ("BatchNorm1d", (6, 3), {"momentum": None}),
    ("BatchNorm2d", (4, 3, 2, 5), {"track_running_stats": False}),
    ("InstanceNorm2d", (2, 3, 4, 5), {"affine": True, "track_running_stats": True}),
    ("InstanceNorm1d", (3, 7), {"affine": True}),
    ("LayerNorm", (3, 4, 5), {"normalized_shape": [4, 5]}),
    ("RMSNorm", (3, 8), {}),
    ("GroupNorm", (2, 6, 4), {"num_groups": 3}),
    ("LocalResponseNorm", (2, 5, 3), {"size": 2, "alpha": 0.5}),
    ("Linear", (3, 4), {"in_features": 4, "out_features": 5}),
    ("Linear", (2, 3, 4), {"in_features": 4, "out_features": 5, "bias": False}),
    ("Conv2d", (2, 4, 5, 6), {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "groups": 2, "padding": 1}),
    (
        "Conv2d",
        (2, 3, 6, 5),
        {"in_channels": 3, "out_channels": 2, "kernel_size": [2, 3], "stride": 2, "dilation": [2, 1]},
    ),
    ("MaxPool2d", (2, 3, 6, 5), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("AvgPool2d", (2, 3, 6, 5), {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    ("AvgPool2d", (2, 3, 6, 5), {"kernel_size": [2, 3], "divisor_override": 5}),
    *(
        ("Conv2d", (2, 3, 6, 5), {"out_channels": 2, "kernel_size": 3, "stride": 2, "padding": 2, "padding_mode": mode})
        for mode in ("reflect", "replicate", "circular")
    ),
    ("Conv2d", (2, 3, 6, 5), {"out_channels": 2, "kernel_size": [2, 3], "padding": "same"}),
    ("Conv2d", (3, 6, 5), {"out_channels": 2, "kernel_size": 3, "padding": "valid"}),
    ("MaxPool2d", (2, 3, 8, 5), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ("MaxPool2d", (3, 6, 5), {"kernel_size": 2, "dilation": 2}),
    ("AvgPool2d", (2, 3, 8, 8), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    (
        "AvgPool2d",
        (2, 3, 8, 8),
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
    ),
    ("AvgPool2d", (3, 7, 6), {"kernel_size": 2, "ceil_mode": True}),
    ("FrozenTeacher", (4, 3, 2, 5), {}),
    ("FrozenTeacher", (4, 3, 2, 5), {"momentum": None, "affine": False}),
    ("Sigmoid", (3, 4), {}),
    ("Tanh", (3, 4), {}),
    ("ReLU", (3, 4), {}),
    ("Flatten", (3, 4, 2), {"start_dim": 1}),
]


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("steps", [("train",), ("train", "train", "eval")], ids="-".join)
@pytest.mark.parametrize(("op", "shape", "args"), CASES)
def test_the_formula_gives_every_quantity(fault_of, case_of, op, shape, args, steps, dtype):
    case = case_of(op, shape, dtype, steps=steps, data="scaled", **args)
    frozen = OPS[op].frozen(case.args)
    params = [f"grad.{name}" for name in OPS[op].parameters(case.args) if name not in frozen]
    buffers = [f"buffer.{name}" for name in OPS[op].buffers(case.args)]
    for quantity in ("output", "grad_input", *params, *buffers):
        fault = fault_of(case, quantity, len(steps) - 1)
        expected = expected_quantity(fault)[0]
        index = (0,) * expected.value.ndim
        fault = replace(fault, figure=Figure(quantity=quantity, step=len(steps) - 1, budget=2.0, index=index))
        block = definition_block(fault, given_block(fault))
        assert "expected = {" not in block.text, f"{quantity} is no formula"
        assert _gives(given_block(fault) + block, expected, index, {})


UPDATES = [
    {"lr": 0.1},
    {"lr": 0.05, "weight_decay": 0.1},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05},
]


@pytest.mark.parametrize("steps", [("train",), ("train", "train"), ("train", "train", "eval")], ids="-".join)
@pytest.mark.parametrize("settings", UPDATES)
def test_under_an_optimizer_the_formula_is_that_of_the_update(case_of, fault_of, settings, steps):
    case = msgspec.structs.replace(
        case_of("BatchNorm2d", (4, 3, 5, 2), steps=steps, data="scaled"), optimizer=Optimizer(**settings)
    )
    momenta = ["momentum.weight"] if "momentum" in settings else []
    for quantity in ("output", "grad_input", "grad.bias", "param.weight", "param.bias", *momenta):
        fault = replace(fault_of(case, quantity, len(steps) - 1), backend=load("torch-cpu"))
        expected, seen = expected_quantity(fault)
        index = (0,) * expected.value.ndim
        fault = replace(fault, figure=Figure(quantity=quantity, step=len(steps) - 1, budget=2.0, index=index))
        block = definition_block(fault, given_block(fault))
        assert "expected = {" not in block.text, f"{quantity} is no formula"
        assert _gives(given_block(fault) + block, expected, index, known_before(fault, seen))
        wrong = Block([line.replace("expected = ", "expected = 1.001 * ") for line in block.lines], block.imports)
        assert not _gives(given_block(fault) + wrong, expected, index, known_before(fault, seen))


def test_a_formula_that_gives_something_else_is_not_used(fault_of, case_of, monkeypatch):
    fault = fault_of(case_of("LayerNorm", (2, 3)), "output")
    right = _WRITERS["layer_norm"]

    def wrong(given):
        block = right(given)
        block.add("expected = expected + 1e-3")
        return block

    monkeypatch.setitem(_WRITERS, "layer_norm", wrong)
    text = definition_block(fault, given_block(fault)).text
    assert "expected = {(0, 0):" in text
    assert float(text.rpartition(": ")[2].rstrip("}")) == pytest.approx(float(expected_quantity(fault)[0].value[0, 0]))


def test_where_nothing_is_determined_the_script_says_so(fault_of, case_of):
    fault = fault_of(case_of("LayerNorm", (2, 6), data="f10-constant", eps=1e-16), "output")
    quantity, _ = expected_quantity(fault)
    assert quantity.undetermined is not None
    assert np.all(quantity.undetermined)
    assert "not determined" in definition_block(fault, given_block(fault)).text
