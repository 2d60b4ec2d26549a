"""Networks after deployment: every node of the graph judged, the whole from its ends, whole steps with gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conformance.backends.models import Models
from conformance.backends.onnx_capture import capture_onnx
from conformance.backends.onnx_module import OnnxModule
from conformance.backends.onnx_step import OnnxStep
from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.judge.local import judge_calls


def exported(case):
    from conformance.backends.exporters import with_script

    backend = OnnxModule("onnx-script", with_script, None, Models())
    inputs = make_inputs(case)
    return backend, inputs, backend.run(case, inputs)


def judged(case, inputs, observation, backend):
    return judge(case, Expectation(case, inputs), observation, backend.observes)


@pytest.mark.parametrize(
    ("op", "kinds"),
    [
        ("BasicBlock", {"Conv", "BatchNormalization", "Relu", "Add"}),
        ("DenseBlock", {"Conv", "BatchNormalization", "Relu", "Concat", "AveragePool"}),
        ("MLP", {"Gemm", "Relu", "Dropout"}),
    ],
)
def test_every_node_of_an_exported_network_is_judged(op, kinds, case_of):
    case = case_of(op, steps=("train", "eval"))
    backend, inputs, observation = exported(case)
    assert {node.kind for node in observation.steps[0].nodes} == kinds
    assert not [node for step in observation.steps for node in step.nodes if node.unjudged]
    judgement = judged(case, inputs, observation, backend)
    assert judgement.verdict == "pass", judgement.reason
    quantities = [figure.quantity for figure in judgement.figures]
    assert "output" in quantities
    assert any(quantity.endswith(") output") for quantity in quantities)


def test_a_node_that_computes_something_else_is_named(case_of):
    case = case_of("BasicBlock", steps=("eval",))
    backend, inputs, observation = exported(case)
    step = observation.steps[0]
    nodes = [
        replace(node, arrays={"output": node.arrays["output"] * np.float32(1.001)}) if node.kind == "Add" else node
        for node in step.nodes
    ]
    bad = replace(observation, steps=(replace(step, nodes=tuple(nodes)),))
    judgement = judged(case, inputs, bad, backend)
    assert judgement.verdict == "fail"
    assert judgement.figures[0].quantity == "/Add (Add) output"


def test_a_graph_that_is_another_network_fails_from_its_ends(case_of):
    case = case_of("BasicBlock", steps=("eval",))
    _, _, other = exported(case_of("BasicBlock", steps=("eval",), seed=1))
    backend, inputs, right = exported(case)
    wrong = replace(right, steps=(replace(other.steps[0], arrays={"output": right.steps[0].arrays["output"] * 1.01}),))
    judgement = judged(case, inputs, wrong, backend)
    assert (judgement.verdict, judgement.figures[0].quantity) == ("fail", "output")


def test_a_whole_step_of_a_residual_block_gives_all_gradients_and_buffers(case_of):
    case = case_of("BasicBlock", steps=("train", "eval"))
    backend = OnnxStep(Models())
    inputs = make_inputs(case)
    observation = backend.run(case, inputs)
    judgement = judged(case, inputs, observation, backend)
    assert judgement.verdict == "pass", judgement.reason
    gradients = {f"grad.{name}" for name in inputs.params}
    assert gradients | {"output", "grad_input"} <= set(observation.steps[0].arrays)
    observation.steps[0].arrays["grad.conv2.weight"][...] *= np.float32(1.01)
    judgement = judged(case, inputs, observation, backend)
    assert (judgement.verdict, judgement.figures[0].quantity) == ("fail", "grad.conv2.weight")


def graph(node, shapes, output):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    made = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("node", "shapes", "output"),
    [
        (helper.make_node("Add", ["a", "b"], ["y"]), {"a": [2, 3], "b": [2, 3]}, [2, 3]),
        (helper.make_node("Add", ["a", "b"], ["y"]), {"a": [2, 3], "b": [3]}, [2, 3]),
        (helper.make_node("Concat", ["a", "b"], ["y"], axis=-1), {"a": [2, 3], "b": [2, 1]}, [2, 4]),
        (helper.make_node("Concat", ["a", "b", "c"], ["y"], axis=0), {"a": [1, 3], "b": [2, 3], "c": [1, 3]}, [4, 3]),
        (helper.make_node("Dropout", ["a"], ["y"]), {"a": [2, 3]}, [2, 3]),
    ],
)
def test_joins_and_dropout_have_a_meaning(node, shapes, output):
    given = {name: np.random.default_rng(3).normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    model = graph(node, shapes, output)
    onnx.checker.check_model(model)
    (finding,) = judge_calls(capture_onnx(model, given))
    assert finding.outcome == "pass", finding
    (call,) = capture_onnx(model, given)
    call.arrays["output"][0, 0] += 1
    assert judge_calls((call,))[0].outcome == "fail"
