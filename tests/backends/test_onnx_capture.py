"""Capturing every node of an ONNX graph under onnxruntime, and judging it."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from conformance.backends.onnx_capture import _captured, add_intermediates, capture_onnx
from conformance.errors import UsageError
from conformance.inputs import bits
from conformance.judge.local import judge_calls
from conformance.teacher_forced import judge_onnx_locally

SHAPE = (3, 6, 4, 5)
DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def drawn(name, shape, dtype="float32"):
    return (0.5 + bits.uniform(f"onnx/{name}", shape)).astype(DTYPES[dtype])


def data(dtype="float32", shape=SHAPE):
    return (2 * bits.normal("onnx/x", shape) + 1).astype(DTYPES[dtype])


def model_of(nodes, x, constants=None, opset=21, outputs=None, functions=(), domains=()):
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs or [nodes[-1].output[0]]],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions)


def channels(dtype="float32", names="sbmv", size=6):
    return {name: drawn(name, (size,), dtype) for name in names}


def batch_norm(dtype="float32", **attributes):
    attributes = {"epsilon": 1e-3, "momentum": 0.8} | attributes
    results = ["y", "rm", "rv"] if attributes.get("training_mode") else ["y"]
    node = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], results, **attributes)
    return model_of([node], data(dtype), channels(dtype), outputs=["y"])


def node_model(op, dtype="float32", constants=None, opset=21, **attributes):
    node = helper.make_node(op, ["x", *(constants or {})], ["y"], **attributes)
    return model_of([node], data(dtype), constants, opset)


def layer_norm(dtype="float32", **attributes):
    constants = {"s": drawn("s", (4, 5), dtype), "b": drawn("b", (5,), dtype)}  # a bias that is broadcast
    return node_model("LayerNormalization", dtype, constants, axis=2, **attributes)


NODES = {
    "batch norm": (batch_norm, ("float64", "float32", "float16")),
    "batch norm in training": (lambda dtype: batch_norm(dtype, training_mode=1), ("float64", "float32", "float16")),
    "instance norm": (
        lambda dtype: node_model("InstanceNormalization", dtype, channels(dtype, "sb"), epsilon=1e-3),
        ("float32", "float16"),
    ),
    "layer norm": (layer_norm, ("float64", "float32", "float16", "bfloat16")),
    "layer norm without bias": (
        lambda dtype: node_model("LayerNormalization", dtype, {"s": drawn("s", (5,), dtype)}),
        ("float32", "float16"),
    ),
    "rms norm": (
        lambda dtype: node_model("RMSNormalization", dtype, {"s": drawn("s", (4, 5), dtype)}, opset=23, axis=-2),
        ("float64", "float32", "float16"),
    ),
    "group norm": (
        lambda dtype: node_model("GroupNormalization", dtype, channels(dtype, "sb"), num_groups=2),
        ("float64", "float32", "float16"),
    ),
    "group norm with a scale for each group": (
        lambda dtype: node_model("GroupNormalization", dtype, channels(dtype, "sb", 2), opset=18, num_groups=2),
        ("float64", "float32", "float16"),
    ),
    "local response norm": (
        lambda dtype: node_model("LRN", dtype, size=3, alpha=0.5, bias=2.0),
        ("float32", "float16"),
    ),
}


@pytest.mark.parametrize(("make", "dtype"), [(make, dtype) for make, dtypes in NODES.values() for dtype in dtypes])
def test_the_normalisations_of_onnxruntime_agree(make, dtype):
    (finding,) = judge_onnx_locally(make(dtype), {"x": data(dtype)})
    assert (finding.outcome, finding.reason) == ("pass", "")
    assert finding.figures[0].quantity == "output" or finding.kind == "BatchNormalization"


def test_training_batch_norm_is_judged_by_its_running_statistics_too():
    (finding,) = judge_onnx_locally(batch_norm(training_mode=1), {"x": data()})
    assert {figure.quantity for figure in finding.figures} == {"output", "buffer.running_mean", "buffer.running_var"}


def test_running_statistics_that_the_graph_does_not_ask_for_are_told():
    # not run: onnxruntime 1.31.1 dies of a segmentation fault where an optional output of this node has no name
    node = batch_norm(training_mode=1).graph.node[0]
    node.output[2] = ""
    values = {"x": data(), "y": data(), "rm": drawn("m", (6,))} | channels()
    call = _captured(node, "norm", values, 21)
    assert call.absent == {"buffer.running_var": "the graph does not ask for it"}
    assert call.arrays.keys() == {"output", "buffer.running_mean"}


def chain():
    nodes = [
        helper.make_node("InstanceNormalization", ["x", "s", "b"], ["i"], name="norm"),
        helper.make_node("Relu", ["i"], ["r"]),
        helper.make_node("GroupNormalization", ["r", "s", "b"], ["g"], name="groups", num_groups=3),
        helper.make_node("Mul", ["g", "x"], ["sum"]),
    ]
    return model_of(nodes, data(), channels(names="sb"))


def test_every_node_has_a_finding_and_those_without_a_reference_say_so():
    findings = judge_onnx_locally(chain(), {"x": data()})
    assert {(finding.name, finding.outcome, finding.reason) for finding in findings} == {
        ("norm", "pass", ""),
        ("groups", "pass", ""),
        ("Relu_1", "pass", ""),
        ("Mul_3", "not judged", "no reference for Mul"),
    }


def test_a_node_that_is_wrong_is_named():
    captured = list(capture_onnx(chain(), {"x": data()}))
    wrong = captured[2].arrays["output"] * np.float32(1.001)
    captured[2] = replace(captured[2], arrays={"output": wrong})
    worst = judge_calls(captured)[0]
    assert (worst.name, worst.outcome) == ("groups", "fail")
    assert worst.budget > 10


def test_a_node_is_judged_by_the_epsilon_of_the_attribute_which_is_float32():
    (call,) = capture_onnx(batch_norm(epsilon=1e-3), {"x": data()})
    assert call.args["eps"] == float(np.float32(1e-3)) != 1e-3
    (call,) = capture_onnx(layer_norm(), {"x": data()})
    assert call.args["eps"] == float(np.float32(1e-5))


def test_statistics_in_float32_are_allowed_where_the_definition_asks_for_them():
    labels = {stash: capture_onnx(layer_norm("float64", **stash_type), {"x": data("float64")})[0].label
              for stash, stash_type in (("default", {}), ("float32", {"stash_type": 1}))}  # fmt: skip
    assert labels == {"default": "float32", "float32": "float32"}
    assert capture_onnx(batch_norm("float64"), {"x": data("float64")})[0].label == "A"


def test_all_intermediates_become_outputs_and_the_model_is_left_alone():
    model = chain()
    before = model.SerializeToString()
    exposed = add_intermediates(model)
    assert [output.name for output in exposed.graph.output] == ["sum", "i", "r", "g"]
    for output in exposed.graph.output[1:3]:  # shape inference does not look into functions such as GroupNormalization
        assert output.type.tensor_type.elem_type == TensorProto.FLOAT
        assert [size.dim_value for size in output.type.tensor_type.shape.dim] == list(SHAPE)
    assert model.SerializeToString() == before


def test_a_tensor_of_unknown_type_is_captured_too():
    nodes = [
        helper.make_node("FusedMatMul", ["x", "w"], ["f"], domain="com.microsoft", name="fused"),
        helper.make_node("LayerNormalization", ["f", "s"], ["y"], name="norm"),
    ]
    constants = {"w": drawn("w", (5, 7)), "s": drawn("s", (7,))}
    findings = judge_onnx_locally(model_of(nodes, data(), constants, domains=["com.microsoft"]), {"x": data()})
    assert [str(finding) for finding in findings] == [
        "fused (FusedMatMul): not judged: no reference for com.microsoft.FusedMatMul",
        "norm (LayerNormalization): pass",
    ]


def test_functions_of_the_model_are_opened():
    body = [
        helper.make_node("InstanceNormalization", ["a", "s", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
    ]
    function = helper.make_function("own", "Block", ["a", "s", "b"], ["d"], body, [helper.make_opsetid("", 21)])
    node = helper.make_node("Block", ["x", "s", "b"], ["y"], domain="own")
    model = model_of([node], data(), channels(names="sb"), functions=[function], domains=["own"])
    findings = judge_onnx_locally(model, {"x": data()})
    assert {(finding.kind, finding.outcome) for finding in findings} == {
        ("Relu", "pass"),
        ("InstanceNormalization", "pass"),
    }


def test_nodes_inside_of_branches_are_said_to_be_not_judged():
    def branch(name):
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE)
        return helper.make_graph([helper.make_node("Relu", ["x"], [name])], name, [], [output])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e"))
    (finding,) = judge_onnx_locally(model_of([node], data(), {"c": np.array(True)}), {"x": data()})  # noqa: FBT003 - a tensor of bool
    assert finding.reason == "no reference for If, nor for the nodes inside of it"


def test_a_rank_without_reference_is_said_to_be_not_judged():
    x = data(shape=(3, 6, 2, 2, 2, 2))
    node = helper.make_node("InstanceNormalization", ["x", "s", "b"], ["y"])
    (finding,) = judge_onnx_locally(model_of([node], x, channels(names="sb")), {"x": x})
    assert finding.reason == "no reference for InstanceNormalization of rank 6"


def test_sequences_stay_inside():
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0),
        helper.make_node("ConcatFromSequence", ["parts"], ["y"], axis=0),
    ]
    captured = capture_onnx(model_of(nodes, data()), {"x": data()})
    assert [call.unjudged for call in captured] == [
        "no reference for SplitToSequence",
        "no reference for ConcatFromSequence",
    ]


@pytest.mark.parametrize("given", [{}, {"x": data(), "z": data()}])
def test_inputs_that_do_not_fit_are_refused_in_words(given):
    with pytest.raises(UsageError, match=r"the graph takes x, and was given (nothing|x, z)"):
        capture_onnx(batch_norm(), given)


def test_what_the_runtime_refuses_is_said_in_its_own_words():
    with pytest.raises(UsageError, match=r"onnxruntime \S+ cannot run the graph: NotImplemented: .*LRN"):
        capture_onnx(node_model("LRN", "float64", size=3), {"x": data("float64")})
