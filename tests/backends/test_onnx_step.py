"""Whole steps through the exporter and onnxruntime."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

from conformance.backends import load
from conformance.backends.batch_export import BatchExport
from conformance.backends.exporters import with_dynamo
from conformance.backends.onnx_step import OnnxStep
from conformance.backends.step_phases import Phase
from conformance.backends.step_trace import trace
from conformance.inputs import make_inputs
from conformance.observation import Unsupported
from conformance.ops import OPS
from conformance.ops.normalisation import NORMALISATION
from conformance.suite.case import Export, Raises

EXTRA = {
    **{f"InstanceNorm{rank}d": {"affine": True, "track_running_stats": True} for rank in (1, 2, 3)},
    "GroupNorm": {"num_groups": 3},
}
STEPPED = [op.name for op in NORMALISATION if op.name != "LocalResponseNorm"]


class Counting(BatchExport):
    """Exports, and counts what it exports."""

    def __init__(self):
        super().__init__()
        self.exported = []

    def __call__(self, jobs):
        self.exported += [job.kind for job in jobs]
        return super().__call__(jobs)


@pytest.fixture(scope="module")
def backend():
    made = OnnxStep()
    made._together = Counting()
    return made


@pytest.fixture
def stepping(case_of):
    """Train, train, eval: what the buffers become shows in the step after."""
    return lambda op, **fields: case_of(op, args=EXTRA.get(op, {}), **{"steps": ("train", "train", "eval")} | fields)


def _assert_close(observed, expected, case):
    assert len(observed.steps) == len(expected.steps) == len(case.steps)
    for seen, wanted in zip(observed.steps, expected.steps, strict=True):
        assert seen.arrays.keys() == wanted.arrays.keys()
        for name, array in wanted.arrays.items():
            assert seen.arrays[name].dtype == array.dtype, name
            np.testing.assert_allclose(seen.arrays[name], array, rtol=1e-4, atol=1e-4, err_msg=name)
        for name, text in seen.structure.items():
            assert text == wanted.structure[name], name


def test_output_gradients_and_buffers_are_those_of_torch_over_several_steps(backend, stepping):
    cases = [stepping(op) for op in STEPPED]
    backend.prepare(cases)
    prepared = len(backend._together.exported)
    for case in cases:
        inputs = make_inputs(case)
        _assert_close(backend.run(case, inputs), load("torch-cpu").run(case, inputs), case)
    assert len(backend._together.exported) == prepared == 2 * len(STEPPED)


def test_the_judge_passes_what_comes_out(backend, stepping):
    from conformance.judge import Expectation, judge

    for op in STEPPED:
        case = stepping(op)
        inputs = make_inputs(case)
        judgement = judge(case, Expectation(case, inputs), backend.run(case, inputs), backend.observes)
        assert (judgement.verdict, judgement.reason) == ("pass", ""), op
        names = {figure.quantity for figure in judgement.figures}
        grads = {f"grad.{name}" for name in OPS[op].parameters(case.args)}
        assert names >= {"output", "grad_input", *grads, *(f"buffer.{name}" for name in OPS[op].buffers(case.args))}


def test_steps_that_differ_only_in_data_share_a_graph(backend, stepping):
    case = stepping("BatchNorm2d", seed=1, data="shifted-1e1", buffers="default", params="negative")
    exported = len(backend._together.exported)
    backend.run(stepping("BatchNorm2d"), make_inputs(stepping("BatchNorm2d")))
    backend.prepare([case])
    inputs = make_inputs(case)
    _assert_close(backend.run(case, inputs), load("torch-cpu").run(case, inputs), case)
    assert len(backend._together.exported) - exported <= 2  # the two of the first, were it run alone


def test_a_graph_of_one_step_takes_the_buffers_of_the_step_before(backend, stepping):
    """With the first buffers in every step the second step's would be those of one step from the start."""
    case = stepping("BatchNorm2d", steps=("train", "train"))
    inputs = make_inputs(case)
    first, second = backend.run(case, inputs).steps
    again = msgspec.structs.replace(case, steps=("train",))
    alone = type(inputs)(inputs.params, inputs.buffers, inputs.steps[1:])
    (fresh,) = backend.run(again, alone).steps
    assert int(second.arrays["buffer.num_batches_tracked"]) == int(first.arrays["buffer.num_batches_tracked"]) + 1
    assert not np.allclose(second.arrays["buffer.running_mean"], fresh.arrays["buffer.running_mean"])


def test_one_graph_serves_steps_of_several_sizes(backend, case_of):
    before = len(backend._together.exported)
    for shape in ((2, 3, 4, 5), (5, 3, 9, 8)):
        case = case_of("BatchNorm2d", shape=shape, steps=("train", "eval"), export=Export(dynamic=True))
        inputs = make_inputs(case)
        _assert_close(backend.run(case, inputs), load("torch-cpu").run(case, inputs), case)
    assert len(backend._together.exported) == before + 2, "one for each mode"


OPENED = {
    "GroupNorm": ({"num_groups": 3}, ((2, 6, 4), (5, 6, 9))),
    "Linear": ({}, ((2, 3, 6), (5, 4, 6))),
    "Conv2d": ({"kernel_size": 3, "stride": 2, "padding": 1}, ((2, 3, 6, 7), (1, 3, 9, 8))),
    "MaxPool2d": ({"kernel_size": 2, "ceil_mode": True}, ((2, 3, 6, 7), (1, 3, 9, 8))),
    "AvgPool2d": ({"kernel_size": 3, "stride": 2, "padding": 1}, ((2, 3, 6, 7), (1, 3, 9, 8))),
    "Flatten": ({}, ((2, 3, 4, 5), (4, 3, 2, 2))),
}


@pytest.mark.parametrize("op", OPENED)
def test_a_graph_of_open_sizes_serves_layers_whose_output_has_other_sizes(backend, case_of, op):
    args, shapes = OPENED[op]
    before = len(backend._together.exported)
    for shape in shapes:
        case = case_of(op, shape=shape, args=args, export=Export(dynamic=True))
        inputs = make_inputs(case)
        _assert_close(backend.run(case, inputs), load("torch-cpu").run(case, inputs), case)
    assert len(backend._together.exported) == before + 1


def test_steps_of_open_sizes_are_exported_the_same_alone_and_among_others(case_of):
    cases = [
        case_of(op, shape=shapes[0], args=args, export=Export(dynamic=True)) for op, (args, shapes) in OPENED.items()
    ]
    jobs = [trace(case, Phase("train")).job() for case in cases]
    for job, made in zip(jobs, BatchExport()(jobs), strict=True):
        alone = with_dynamo(job.module, job.x, job.form, job.more, job.alike, job.following)
        assert made.SerializeToString(deterministic=True) == alone.SerializeToString(deterministic=True), job.kind


def test_open_sizes_that_the_exporter_cannot_follow_are_unsupported_in_its_words(backend, case_of):
    args = {"kernel_size": 2, "ceil_mode": True}
    case = case_of("AvgPool2d", shape=(2, 3, 5, 5), args=args, export=Export(dynamic=True))
    with pytest.raises(Unsupported, match=r"^export: DispatchError: No ONNX function found for .*avg_pool2d_backward"):
        backend.run(case, make_inputs(case))


def test_what_is_given_to_the_runtime_is_not_written_to(backend, stepping):
    case = stepping("BatchNorm2d")
    inputs = make_inputs(case)
    before = {name: array.copy() for name, array in inputs.buffers.items()}
    x = inputs.steps[0].x.copy()
    seen = backend.run(case, inputs)
    assert {step.structure["input_modified"] for step in seen.steps} == {"no"}
    assert np.array_equal(inputs.steps[0].x, x)
    assert all(np.array_equal(array, before[name]) for name, array in inputs.buffers.items())


def test_the_same_graph_comes_of_one_call_and_of_many(backend, stepping):
    traced = [trace(stepping(op), Phase(mode)) for op in ("LayerNorm", "BatchNorm1d") for mode in ("eval", "train")]
    together = BatchExport()([one.job() for one in traced])
    for one, model in zip(traced, together, strict=True):
        (alone,) = BatchExport()([one.job()])
        assert model.SerializeToString(deterministic=True) == alone.SerializeToString(deterministic=True), one.kind


def test_a_step_that_the_exporter_refuses_is_unsupported_in_its_words(backend, stepping):
    case = stepping("LocalResponseNorm", steps=("eval",))
    with pytest.raises(Unsupported, match=r"^export: DispatchError: No ONNX function found for .*avg_pool\dd_backward"):
        backend.run(case, make_inputs(case))


def test_a_step_that_torch_cannot_trace_is_unsupported_in_its_words(backend, case_of):
    case = case_of("BatchNorm1d", shape=(1, 3), steps=("train",))
    backend.prepare([case])
    with pytest.raises(Unsupported, match=r"^torch: ValueError: Expected more than 1 value per channel"):
        backend.run(case, make_inputs(case))


def test_a_cumulative_average_goes_on_from_step_to_step(backend, case_of):
    """torch reads the count out of its tensor, which a trace cannot; in the graph it stays one."""
    case = case_of("BatchNorm1d", args={"momentum": None}, steps=("train", "train", "eval"))
    inputs = make_inputs(case)
    observed = backend.run(case, inputs)
    _assert_close(observed, load("torch-cpu").run(case, inputs), case)
    counts = [int(step.arrays["buffer.num_batches_tracked"]) for step in observed.steps]
    assert counts == [8, 9, 9]


def test_a_graph_that_the_runtime_refuses_is_unsupported_in_its_words(backend, case_of):
    """The exporter gives float64 data the float32 statistics of its LayerNormalization."""
    case = case_of("LayerNorm", dtype="float64", param_dtype="float64", steps=("train",))
    with pytest.raises(Unsupported, match=r"^load: Fail: .*Type parameter \(T\) of Optype \(\w+\) bound to different"):
        backend.run(case, make_inputs(case))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"raises": Raises("ValueError", "x")}, "checks torch's own exception"),
        ({"dtype": "int64"}, "checks how torch treats integers"),
        ({"layout": "strided"}, "tensors of ONNX have no layout but the contiguous one"),
        ({"grad_layout": "strided"}, "tensors of ONNX have no layout but the contiguous one"),
        ({"requires_grad": False}, None),
    ],
)
def test_what_has_no_step_has_a_reason(fields, reason, case_of):
    assert OnnxStep().unsupported(case_of("BatchNorm2d", **fields)) == reason


def test_versions_name_every_package_that_decides_the_result():
    assert set(load("onnx-step").versions()) == {"torch", "onnx", "onnxruntime", "onnxscript"}


# ---- failures ----------------------------------------------------------------------------------------------------


def _failure(backend, case, folder, agrees, step=1):
    from conformance.backends.failure import Failure
    from conformance.engine.tools import rounded
    from conformance.judge import Expectation

    inputs = make_inputs(case)
    expected = rounded(Expectation(case, inputs))
    return Failure(case, inputs, backend.run(case, inputs), step, expected, lambda _: agrees, folder)


def test_a_failing_step_is_written_as_a_test_that_others_can_run(backend, stepping, tmp_path):
    """Step 1, whose buffers are those that came out of step 0."""
    case = stepping("BatchNorm2d")
    failure = _failure(backend, case, tmp_path / "evidence", agrees=False)
    said = backend.investigate(failure)
    assert said.startswith("lost by the exporter or by a kernel of onnxruntime")
    assert str(tmp_path / "evidence") in said
    data = tmp_path / "evidence" / "test_data_set_0"
    session = onnxruntime.InferenceSession(tmp_path / "evidence" / "model.onnx", providers=["CPUExecutionProvider"])
    given = {}
    for place, value in enumerate(session.get_inputs()):
        tensor = onnx.load_tensor(data / f"input_{place}.pb")
        assert tensor.name == value.name
        given[value.name] = onnx.numpy_helper.to_array(tensor)
    for place, output in enumerate(session.run(None, given)):
        expected = onnx.numpy_helper.to_array(onnx.load_tensor(data / f"output_{place}.pb"))
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)
    assert len(list(data.iterdir())) == 7 + 7


def test_the_optimiser_is_blamed_where_the_case_passes_without_it(backend, stepping):
    said = backend.investigate(_failure(backend, stepping("LayerNorm"), None, agrees=True))
    assert said == "lost by the optimiser of onnxruntime: with optimisations off, the case passes"
