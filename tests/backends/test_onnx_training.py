"""ONNX's own BatchNormalization in training mode."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from conformance.backends import load
from conformance.backends.onnx_training import node_of, training_model
from conformance.backends.onnxruntime_session import Loaded, load_model, run_on_many
from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.observation import Unsupported
from conformance.suite.case import Divergence, Origin

OPS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
DEFINITION = Divergence(id="theirs", when={}, why="they define it so", reference="onnx", origin=Origin("d.yaml", 7, 5))


def _judged(case, divergences=()):
    backend, inputs = load("onnx-training"), make_inputs(case)
    return judge(case, Expectation(case, inputs), backend.run(case, inputs), backend.observes, divergences)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("op", OPS)
def test_training_meets_the_definition_of_onnx_and_not_that_of_torch(op, dtype, case_of):
    fields = {"dtype": dtype, "param_dtype": dtype, "data": "scaled", "steps": ("train", "train", "eval", "train")}
    case = case_of(op, args={"momentum": 0.3}, **fields)
    assert _judged(case).verdict == "fail"
    known = _judged(case, [DEFINITION])
    assert known.verdict == "known", known.reason
    assert "meets the onnx definition" in known.reason


def test_statistics_of_a_step_are_those_that_the_next_begins_with(case_of):
    case = case_of("BatchNorm1d", args={"momentum": 0.25}, steps=("train", "train"))
    inputs = make_inputs(case)
    first, second = load("onnx-training").run(case, inputs).steps
    batch = inputs.steps[1].x.astype(float).mean(axis=(0, 2))
    expected = 0.25 * first.arrays["buffer.running_mean"] + 0.75 * batch
    np.testing.assert_allclose(second.arrays["buffer.running_mean"], expected, rtol=1e-6, atol=1e-6)


def test_eval_alone_and_untracked_layers_are_as_torch_has_them(case_of):
    for fields in ({"steps": ("eval",)}, {"args": {"track_running_stats": False}, "steps": ("train", "eval")}):
        assert _judged(case_of("BatchNorm2d", data="scaled", **fields)).verdict == "pass"


@pytest.mark.parametrize("args", [{"affine": False}, {"bias": False}])
def test_where_the_layer_has_no_parameter_scale_is_one_and_bias_is_zero(args, case_of):
    assert _judged(case_of("BatchNorm2d", args=args, params="random", steps=("eval",))).verdict == "pass"


def test_what_is_given_to_the_runtime_is_not_written_to(case_of):
    case = case_of("BatchNorm2d", steps=("train", "eval"))
    inputs = make_inputs(case)
    before = [array.copy() for array in (*inputs.buffers.values(), *inputs.params.values(), inputs.steps[0].x)]
    seen = load("onnx-training").run(case, inputs)
    assert [step.structure["input_modified"] for step in seen.steps] == ["no", "no"]
    after = [*inputs.buffers.values(), *inputs.params.values(), inputs.steps[0].x]
    assert all(map(np.array_equal, before, after))


@pytest.mark.parametrize("plain", [True, False])
def test_a_runtime_that_writes_to_its_inputs_is_seen(plain):
    class Scribbler:
        """A session whose model scribbles over its input."""

        def run(self, _names, feed):
            feed["X"][:] = 7
            return [feed["X"]]

        def run_with_ort_values(self, _names, feed):
            feed["X"].numpy()[:] = 7
            return [feed["X"]]

    given = np.float32([1, 2])
    ran = run_on_many(Loaded(Scribbler(), ("X",), plain), [given])
    assert ran.modified
    assert given.tolist() == [1, 2]


def test_all_outputs_of_training_have_names(case_of):
    """onnxruntime 1.31 dies of an optional output that has none."""
    model = training_model(node_of(case_of("BatchNorm2d"), training=True))
    onnx.checker.check_model(model, full_check=True)
    assert [len(node.output) for node in model.graph.node] == [3]
    assert all(model.graph.node[0].output)
    assert [output.name for output in load_model(model).runtime.get_outputs()] == ["Y", "running_mean", "running_var"]


def test_a_kernel_that_is_missing_is_unsupported_in_the_words_of_the_runtime(case_of):
    case = case_of("BatchNorm2d", dtype="bfloat16", param_dtype="bfloat16", steps=("train",))
    with pytest.raises(Unsupported, match=r"^load: NotImplemented: .*BatchNormalization"):
        load("onnx-training").run(case, make_inputs(case))


@pytest.mark.parametrize(
    ("op", "fields", "reason"),
    [
        ("LayerNorm", {}, "the only operator with a training mode is BatchNormalization"),
        ("FrozenTeacher", {"args": {"momentum": None}}, "the only operator with a training mode is BatchNormalization"),
        ("BatchNorm2d", {"args": {"momentum": None}}, "BatchNormalization has no cumulative average"),
        ("BatchNorm2d", {"args": {"momentum": None}, "steps": ("eval",)}, None),
        ("BatchNorm2d", {"shape": (0, 3, 4, 4)}, "ONNX does not say what the statistics of no values are"),
        ("BatchNorm2d", {"layout": "channels_last"}, "tensors of ONNX have no layout but the contiguous one"),
        ("BatchNorm2d", {"grad_layout": "strided"}, None),
    ],
)
def test_what_the_operator_does_not_say_has_a_reason(op, fields, reason, case_of):
    assert load("onnx-training").unsupported(case_of(op, **fields)) == reason
