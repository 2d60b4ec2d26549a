"""Cases through an exporter and onnxruntime."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from conformance.backends import load
from conformance.backends.exporters import with_script
from conformance.backends.models import Models
from conformance.backends.onnx_module import OnnxModule
from conformance.backends.planning import plan
from conformance.backends.tensors import to_array
from conformance.inputs import make_inputs
from conformance.observation import Unsupported
from conformance.ops.normalisation import NORMALISATION
from conformance.suite.case import Raises


class Counting:
    """An exporter that counts its calls."""

    def __init__(self, export=with_script):
        self.calls = 0
        self._export = export

    def __call__(self, module, x, form):
        self.calls += 1
        return self._export(module, x, form)

    def together(self, jobs):
        return [self(job.module, job.x, job.form) for job in jobs]


def _broken(words):
    def export(module, x, form):
        raise RuntimeError("please report this\nwith all details") from KeyError(words)

    return export


def _other_inputs(case):
    """Of the same shapes and types, with other numbers."""
    inputs = make_inputs(case)
    for array in (*inputs.params.values(), *inputs.buffers.values()):
        if array.ndim:
            array[...] = 1.5 * array
    return inputs


def _script(export):
    return OnnxModule("test", export, None)


@pytest.mark.parametrize("name", ["onnx-dynamo", "onnx-script"])
def test_each_step_has_one_output_like_that_of_torch(name, case_of):
    case = case_of("BatchNorm2d", steps=("train", "eval"))
    inputs = make_inputs(case)
    observed = load(name).run(case, inputs)
    expected = load("torch-cpu").run(case, inputs)
    assert [set(step.arrays) for step in observed.steps] == [{"output"}] * 2
    for step in observed.steps:
        assert step.structure == {"dtype": "float32", "shape": "4x3x5x6"}
    # in eval the graph holds the buffers that torch had after training: no exporter loses that
    np.testing.assert_allclose(
        observed.steps[1].arrays["output"], expected.steps[1].arrays["output"], rtol=1e-5, atol=1e-5
    )


def test_planning_moves_the_buffers_as_torch_does(case_of):
    case = case_of("BatchNorm2d", steps=("train", "eval", "train", "eval"))
    inputs = make_inputs(case)
    planned = [to_array(one.module.running_mean) for one in plan(case, inputs)]
    observed = [step.arrays["buffer.running_mean"] for step in load("torch-cpu").run(case, inputs).steps]
    given = inputs.buffers["running_mean"]
    for before, after in zip(planned, [given, *observed[:-1]], strict=True):
        assert np.array_equal(before, after)


def test_planned_modules_are_copies_in_the_mode_of_their_step(case_of):
    planned = list(plan(case := case_of("BatchNorm2d", steps=("train", "eval")), make_inputs(case)))
    assert [one.module.training for one in planned] == [True, False]
    assert planned[0].module.running_mean.data_ptr() != planned[1].module.running_mean.data_ptr()


def test_exporting_leaves_the_buffers_of_the_next_step_alone(case_of):
    """Exporting trains the copy; if it trained the module, its batches would be counted twice."""
    case = case_of("BatchNorm2d", steps=("train", "train", "eval"), buffers="default")
    seen = []

    def export(module, x, form):
        seen.append(int(module.num_batches_tracked))
        return with_script(module, x, form)

    _script(export).run(case, make_inputs(case))
    assert seen == [0, 1, 2]


def test_a_step_with_the_same_state_and_mode_is_not_exported_again(case_of):
    export = Counting()
    case = case_of("LayerNorm", steps=("eval", "eval", "eval"))
    _script(export).run(case, make_inputs(case))
    assert export.calls == 1


def test_a_step_with_another_state_shares_the_graph_and_has_its_own_numbers(case_of):
    export = Counting()
    backend = _script(export)
    for factor in (1, 2, 3):
        case = case_of("LayerNorm", steps=("eval",))
        inputs = make_inputs(case)
        inputs.params["weight"][:] *= factor
        output = backend.run(case, inputs).steps[0].arrays["output"]
        expected = load("torch-cpu").run(case, inputs).steps[0].arrays["output"]
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)
    assert export.calls == 1


def test_a_state_that_cannot_be_told_apart_is_exported_again(case_of):
    """With the defaults the weight is all ones, which an exporter may take for nothing to multiply with."""
    export = Counting()
    backend = _script(export)
    for params in ("random", "default"):
        case = case_of("LayerNorm", steps=("eval",), params=params)
        backend.run(case, make_inputs(case))
    assert export.calls == 2


@pytest.mark.parametrize("op", [op.name for op in NORMALISATION])
@pytest.mark.parametrize("name", ["onnx-dynamo", "onnx-script"])
def test_a_shared_graph_is_the_one_that_would_have_been_exported(op, name, case_of):
    extra = {"InstanceNorm2d": {"affine": True, "track_running_stats": True}, "GroupNorm": {"num_groups": 3}}
    case = case_of(op, args=extra.get(op, {}), steps=("train", "eval"))
    (first, second), other = plan(case, make_inputs(case)), next(plan(case, _other_inputs(case)))
    assert first.digest == other.digest
    assert first.digest != second.digest
    shared, alone = load(name), load(name)
    shared._models, alone._models = Models(), Models()
    if name == "onnx-script" and op in ("RMSNorm", "InstanceNorm2d"):
        with pytest.raises(Unsupported) as refusal:  # cannot be exported, or only as what the checker of onnx refuses
            shared.graph(first)
        with pytest.raises(Unsupported, match=re.escape(str(refusal.value))):
            shared.graph(other)
        return
    shared.graph(first)
    assert shared.graph(other) == alone.graph(other)


def test_prepared_cases_run_without_another_export(case_of):
    export = Counting()
    backend = OnnxModule("test", export, export.together)
    cases = [case_of("BatchNorm2d", steps=("train", "eval"), seed=seed) for seed in range(3)]
    backend.prepare(cases)
    prepared = export.calls
    for case in cases:
        backend.run(case, make_inputs(case))
    assert export.calls == prepared > 0


def test_preparing_changes_no_output(case_of):
    case = case_of("GroupNorm", args={"num_groups": 3}, steps=("train", "eval"))
    prepared = load("onnx-dynamo")
    prepared.prepare([case, case_of("LayerNorm", steps=("eval",))])
    inputs = make_inputs(case)
    observed, alone = prepared.run(case, inputs), load("onnx-dynamo").run(case, inputs)
    assert len(observed.steps) == 2
    for one, other in zip(observed.steps, alone.steps, strict=True):
        assert one.arrays["output"].tobytes() == other.arrays["output"].tobytes()


def test_preparing_passes_over_what_torch_itself_cannot_do(case_of):
    backend = OnnxModule("test", with_script, Counting().together)
    too_few = case_of("BatchNorm1d", shape=(1, 3), steps=("train",))
    backend.prepare([too_few])
    with pytest.raises(Unsupported, match="torch: ValueError: Expected more than 1 value per channel"):
        backend.run(too_few, make_inputs(too_few))


def test_a_failing_export_is_unsupported_in_the_words_of_its_cause(case_of):
    case = case_of("LayerNorm")
    export = Counting(_broken("no such operator"))
    backend = _script(export)
    for _ in range(2):
        with pytest.raises(Unsupported, match=r"^export: KeyError: 'no such operator'$"):
            backend.run(case, make_inputs(case))
    assert export.calls == 1


def test_a_graph_that_the_runtime_refuses_is_unsupported_in_its_words(case_of):
    case = case_of("GroupNorm", dtype="float64", param_dtype="float64")
    with pytest.raises(Unsupported, match=r"^load: .*Could not find an implementation for InstanceNormalization"):
        load("onnx-script").run(case, make_inputs(case))


def test_a_run_that_fails_is_unsupported_in_its_words(case_of):
    def export(module, x, form):
        return with_script(module, x[:1], form)  # a graph for another shape

    case = case_of("LayerNorm")
    with pytest.raises(Unsupported, match=r"^run: InvalidArgument: .*Got invalid dimensions"):
        _script(export).run(case, make_inputs(case))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"raises": Raises("ValueError", "x")}, "checks torch's own exception"),
        ({"dtype": "int64"}, "checks how torch treats integers"),
        ({"layout": "strided"}, "tensors of ONNX have no layout but the contiguous one"),
        ({"grad_layout": "strided"}, None),
        ({"requires_grad": False}, None),
    ],
)
def test_what_is_not_exported_has_a_reason(fields, reason, case_of):
    assert load("onnx-dynamo").unsupported(case_of("BatchNorm2d", **fields)) == reason


def test_bfloat16_goes_in_and_comes_out(case_of):
    case = case_of("LayerNorm", dtype="bfloat16", param_dtype="bfloat16", steps=("eval",))
    inputs = make_inputs(case)
    output = load("onnx-script").run(case, inputs).steps[0].arrays["output"]
    expected = load("torch-cpu").run(case, inputs).steps[0].arrays["output"]
    assert output.dtype == expected.dtype
    np.testing.assert_allclose(output.astype(float), expected.astype(float), rtol=2**-7, atol=2**-7)


def test_versions_name_every_package_that_decides_the_result():
    assert set(load("onnx-dynamo").versions()) == {"torch", "onnx", "onnxruntime", "onnxscript"}
    assert load("onnx-script").versions()["torch"] == torch.__version__
