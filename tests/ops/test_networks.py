"""Entries of the networks: layers and wiring in the order of the modules, complete arguments, shapes."""

from __future__ import annotations

import pytest

from conformance.ops import OPS
from conformance.ops.entry import INPUT
from conformance.ops.networks import NETWORKS, layer_dtype, state_names

SHAPES = {
    "MLP": (4, 6),
    "LeNet": (3, 1, 16, 16),
    "BasicBlock": (3, 4, 5, 6),
    "Bottleneck": (3, 16, 5, 6),
    "DenseBlock": (3, 4, 5, 6),
}


def args_of(op, shape=None, **given):
    return OPS[op].complete(OPS[op].defaults() | given, shape or SHAPES[op])


def nodes_of(op, **given):
    return OPS[op].nodes(args_of(op, **given))


@pytest.mark.parametrize("op", [op.name for op in NETWORKS])
def test_every_node_takes_what_an_earlier_one_gives(op):
    known = {INPUT}
    for node in nodes_of(op):
        assert node.inputs
        assert set(node.inputs) <= known
        assert node.key not in known
        known.add(node.key)


@pytest.mark.parametrize("op", [op.name for op in NETWORKS])
def test_every_layer_has_every_argument_of_its_op(op):
    layers = [node for node in nodes_of(op) if node.op in OPS]
    assert layers
    for node in layers:
        assert set(node.args) == set(OPS[node.op].defaults())
        assert None not in [node.args[name] for name in ("in_features", "num_features") if name in node.args]


@pytest.mark.parametrize("op", [op.name for op in NETWORKS])
def test_the_output_has_the_shape_that_the_layers_lead_to(op):
    shapes = {INPUT: SHAPES[op]}
    for node in nodes_of(op):
        given = [shapes[key] for key in node.inputs]
        if node.op == "concat":
            shapes[node.key] = (given[0][0], sum(shape[1] for shape in given), *given[0][2:])
        else:
            shapes[node.key] = given[0] if node.op == "add" else OPS[node.op].output_shape(node.args, given[0])
    assert OPS[op].output_shape(args_of(op), SHAPES[op]) == shapes[nodes_of(op)[-1].key]


def test_an_mlp_has_norm_activation_and_dropout_behind_each_hidden_layer():
    ops = [node.op for node in nodes_of("MLP", norm_layer="LayerNorm", activation_layer="Tanh", hidden_channels=[5, 3])]
    assert ops == ["Linear", "LayerNorm", "Tanh", "Dropout", "Linear", "Dropout"]


def test_a_residual_block_calls_its_activation_again_behind_the_sum():
    basic, bottleneck = nodes_of("BasicBlock"), nodes_of("Bottleneck")
    assert [node.key for node in basic] == ["conv1", "bn1", "relu", "conv2", "bn2", "+", "relu#1"]
    assert [node.key for node in bottleneck if node.op == "ReLU"] == ["relu", "relu#1", "relu#2"]
    assert basic[-2].inputs == ("bn2", INPUT)
    assert basic[-1].title == "relu (ReLU, call 1)"


def test_a_dense_layer_sees_everything_before_it():
    widths = [node.args["in_channels"] for node in nodes_of("DenseBlock", num_layers=3) if node.op == "Conv2d"]
    assert widths == [4, 8, 12, 16]


def test_the_state_dict_goes_module_by_module_and_knows_no_module_twice():
    names = list(state_names(nodes_of("BasicBlock")))
    assert names[:4] == ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean"]
    assert len(names) == len(set(names)) == 2 + 2 * 5


def test_a_shortcut_that_must_change_the_shape_needs_a_projection():
    with pytest.raises(ValueError, match="needs projection: true"):
        nodes_of("BasicBlock", stride=2)
    assert nodes_of("BasicBlock", stride=2, projection=True)


def test_an_image_too_small_for_lenet_is_told():
    with pytest.raises(ValueError, match="at least 16x16, not of 8"):
        OPS["LeNet"].nodes(args_of("LeNet", (2, 1, 8, 8)))


def test_norms_alone_keep_wide_parameters():
    assert layer_dtype("BatchNorm2d", "bfloat16", "float32") == "float32"
    assert layer_dtype("Conv2d", "bfloat16", "float32") == "bfloat16"
    assert layer_dtype("RMSNorm", "bfloat16", "float32") == "bfloat16"
