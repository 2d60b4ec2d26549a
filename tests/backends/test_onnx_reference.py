"""Exported graphs under ONNX's own evaluator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conformance.backends import load
from conformance.backends.onnx_reference import evaluated
from conformance.backends.seeds import seed_graph
from conformance.inputs import make_inputs
from conformance.observation import Unsupported


def _model(*nodes, shape=(2, 3)):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    graph = helper.make_graph(nodes, "main", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_evaluator_reads_the_graphs_of_the_exporter(case_of):
    case = case_of("RMSNorm", steps=("train", "eval"))
    inputs = make_inputs(case)
    observed, expected = (load(name).run(case, inputs) for name in ("onnx-reference", "torch-cpu"))
    assert len(observed.steps) == 2
    for seen, wanted in zip(observed.steps, expected.steps, strict=True):
        assert seen.structure == {"dtype": "float32", "shape": "4x3x6"}
        np.testing.assert_allclose(seen.arrays["output"], wanted.arrays["output"], rtol=1e-5, atol=1e-5)


def test_it_runs_the_graph_that_onnxruntime_runs(case_of):
    """A batch norm that was exported in training mode is inference to both: the exporter lost the mode."""
    case = case_of("BatchNorm2d", steps=("train",))
    inputs = make_inputs(case)
    ours, theirs, torch = (
        load(name).run(case, inputs).steps[0].arrays["output"]
        for name in ("onnx-reference", "onnx-dynamo", "torch-cpu")
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert np.abs(ours - torch).max() > 0.1


def test_a_graph_may_compute_infinities_and_nan_without_a_warning():
    output, _ = evaluated(_model(helper.make_node("Sqrt", ["x"], ["y"])), np.float32([[-1, 4, np.inf], [0, 1, np.nan]]))
    np.testing.assert_array_equal(output, np.float32([[np.nan, 2, np.inf], [0, 1, np.nan]]))


def test_the_evaluator_is_given_a_copy():
    x = np.ones((2, 3), np.float32)
    output, _ = evaluated(_model(helper.make_node("Identity", ["x"], ["y"])), x)
    output[:] = 7
    assert (x == 1).all()


def test_what_the_evaluator_cannot_load_is_unsupported_in_its_words():
    with pytest.raises(Unsupported, match=r"^load: ValidationError: No Op registered for Nonsense"):
        evaluated(_model(helper.make_node("Nonsense", ["x"], ["y"])), np.ones((2, 3), np.float32))


def test_what_the_evaluator_cannot_run_is_unsupported_in_its_words():
    model = _model(helper.make_node("Reshape", ["x", "x"], ["y"]))
    with pytest.raises(Unsupported, match=r"^run: "):
        evaluated(model, np.ones((2, 3), np.float32))


@pytest.mark.parametrize("op", ["Dropout", "Dropout1d", "Dropout2d"])
def test_the_same_case_drops_the_same_and_another_step_something_else(op, case_of):
    case = case_of(op, shape=(16, 32) if op == "Dropout" else (16, 32, 2, 2)[: int(op[-2]) + 2], steps=("train",) * 2)
    inputs = make_inputs(case)
    first, again = (load("onnx-reference").run(case, inputs).steps for _ in range(2))
    masks = [step.arrays["output"] == 0 for step in first]
    assert all(0 < mask.sum() < mask.size for mask in masks)
    assert not np.array_equal(*masks)
    for step, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(step.arrays["output"], other.arrays["output"])


def test_nodes_that_draw_in_one_graph_draw_apart_and_keep_a_seed_that_they_have(case_of):
    types = ("Dropout", "RandomUniformLike", "Relu", "RandomUniformLike", "Dropout")
    nodes = [helper.make_node(kind, ["x"], ["y" if place == 4 else f"y{place}"]) for place, kind in enumerate(types)]
    nodes[-1].attribute.append(helper.make_attribute("seed", 7))
    model = _model(*nodes)
    seed_graph(model, case_of("Linear"), 0)
    assert sum(len(node.attribute) for node in model.graph.node) == 1, "a case that draws nothing"
    seed_graph(model, case_of("Dropout"), 0)
    onnx.checker.check_model(model)
    *drawn, own = (helper.get_node_attr_value(node, "seed") for node in model.graph.node if node.attribute)
    assert [type(seed) for seed in drawn] == [int, float, float]
    assert len(set(drawn)) == 3
    assert own == 7


def test_versions_leave_out_the_runtime_that_is_not_used():
    assert set(load("onnx-reference").versions()) == {"torch", "onnx", "onnxscript"}
    assert load("onnx-reference").versions()["onnx"] == onnx.__version__


def test_a_failing_graph_is_written_as_a_test_that_others_can_run(case_of, tmp_path):
    from conformance.backends.failure import Failure

    case = case_of("RMSNorm", steps=("train", "eval"))
    backend, inputs = load("onnx-reference"), make_inputs(case)
    seen = backend.run(case, inputs)
    expected = tuple(step.arrays for step in seen.steps)
    for folder in (None, tmp_path / "evidence"):
        said = backend.investigate(Failure(case, inputs, seen, 1, expected, lambda _: True, folder))
        assert said == ("" if folder is None else f"step 1 as a test of an ONNX backend: {folder}")
    model = onnx.load(tmp_path / "evidence" / "model.onnx")
    given, wanted = (
        onnx.numpy_helper.to_array(onnx.load_tensor(tmp_path / "evidence" / "test_data_set_0" / f"{kind}_0.pb"))
        for kind in ("input", "output")
    )
    assert np.array_equal(given, inputs.steps[1].x)
    assert np.array_equal(evaluated(model, given)[0], wanted)
