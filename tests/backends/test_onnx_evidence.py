"""What is said and kept of a failing graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conformance.backends import load
from conformance.backends.onnx_evidence import blame, write_backend_test
from conformance.backends.onnx_module import run_graph
from conformance.engine.execute import SharedCase, execute, take_seat
from conformance.engine.tools import standard
from conformance.inputs import make_inputs
from conformance.observation import Unsupported
from conformance.suite.case import Export, Tolerance

X = np.float32([[1, 2], [3, 4]])
IMPOSSIBLE = {"output": Tolerance(rtol=0.0, atol=0.0)}


def _doubling(kind=TensorProto.FLOAT) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, kind, [2, 2]) for name in ("x0", "y0")]
    graph = helper.make_graph([helper.make_node("Add", ["x0", "x0"], ["y0"])], "main", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _says(right: Callable[..., bool]) -> Callable[..., bool]:
    return lambda observation: right(observation.steps[0].arrays["output"])


def _gives(array: np.ndarray) -> Callable[..., np.ndarray]:
    return lambda model, x: array


def _refuses(model, x):
    raise Unsupported("run: no kernel")


@pytest.mark.parametrize(
    ("unoptimised", "expected", "optimised", "words"),
    [
        (_gives(3 * X), 3 * X, True, "lost by the optimiser of onnxruntime"),
        (_gives(3 * X), 2 * X, True, "lost by a kernel of onnxruntime (with and without optimisations)"),
        (_gives(3 * X), 2 * X, False, "lost by a kernel of onnxruntime (without optimisations)"),
        (_gives(3 * X), 5 * X, True, "lost by the exporter: the graph fails with and without optimisations"),
        (_gives(3 * X), 5 * X, False, "lost by the exporter: the graph fails without optimisations"),
        (_refuses, 2 * X, True, "lost by a kernel of onnxruntime"),
    ],
)
def test_who_lost_the_numbers_follows_from_what_the_graph_gives_elsewhere(unoptimised, expected, optimised, words):
    agrees = _says(lambda output: np.array_equal(output, expected))
    assert blame([_doubling()], [X], agrees, unoptimised=unoptimised, optimised=optimised).startswith(words)


def test_a_graph_that_the_evaluator_cannot_run_leaves_two_to_blame():
    model = _doubling()
    model.graph.node[0].op_type = "NoSuchOperator"
    said = blame([model], [X], _says(lambda output: False), unoptimised=_gives(X), optimised=True)
    assert said.startswith("lost by the exporter or by a kernel of onnxruntime (with and without optimisations)")


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (np.float64, TensorProto.DOUBLE),
        (np.float32, TensorProto.FLOAT),
        (np.float16, TensorProto.FLOAT16),
        (ml_dtypes.bfloat16, TensorProto.BFLOAT16),
    ],
)
def test_the_folder_is_a_test_of_an_onnx_backend(tmp_path, dtype, kind):
    x, y = X.astype(dtype), (2 * X).astype(dtype)
    folder = tmp_path / "failures" / "key-backend"
    write_backend_test(folder, _doubling(kind), [x], [y])
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*")) == [
        "model.onnx",
        "test_data_set_0/input_0.pb",
        "test_data_set_0/output_0.pb",
    ]
    onnx.checker.check_model(folder / "model.onnx")
    for file, array, name in (("input_0.pb", x, "x0"), ("output_0.pb", y, "y0")):
        tensor = onnx.TensorProto.FromString((folder / "test_data_set_0" / file).read_bytes())
        assert (tensor.name, tensor.data_type, tuple(tensor.dims)) == (name, kind, (2, 2))
        assert numpy_helper.to_array(tensor).tobytes() == array.tobytes()


def test_an_older_failure_in_the_folder_is_replaced(tmp_path):
    write_backend_test(tmp_path / "f", _doubling(), [X], [X])
    (tmp_path / "f" / "stray").write_text("old")
    write_backend_test(tmp_path / "f", _doubling(), [X], [2 * X])
    assert not (tmp_path / "f" / "stray").exists()


def _record(case, backend, folder: Path | None):
    tools = standard()
    return execute(SharedCase(case, tools), take_seat(backend, tools), tools, {}, folder)


@pytest.mark.parametrize("optimisation", ["all", "off"])
def test_a_failing_case_says_who_lost_the_numbers_and_keeps_the_graph(case_of, tmp_path, optimisation):
    case = case_of("LayerNorm", steps=("train", "eval"), tolerance=IMPOSSIBLE, export=Export(optimisation=optimisation))
    record = _record(case, "onnx-script", tmp_path)
    assert record.verdict == "fail"
    folder = tmp_path / "0123456789ab-onnx-script"
    who, where = record.detail.splitlines()
    assert who.startswith("lost by the exporter")
    assert where == f"step {record.figures[0].step} as a test of an ONNX backend: {folder}"
    given = [
        numpy_helper.to_array(onnx.TensorProto.FromString((folder / "test_data_set_0" / name).read_bytes()))
        for name in ("input_0.pb", "output_0.pb")
    ]
    assert np.array_equal(given[0], make_inputs(case).steps[record.figures[0].step].x)
    output, _ = run_graph(onnx.load(folder / "model.onnx"), given[0])
    np.testing.assert_allclose(output, given[1], rtol=1e-5, atol=1e-5)
    assert not np.array_equal(output, given[1])


def test_a_passing_case_leaves_nothing_behind(case_of, tmp_path):
    record = _record(case_of("LayerNorm", steps=("eval",)), "onnx-script", tmp_path)
    assert (record.verdict, record.detail, list(tmp_path.iterdir())) == ("pass", "", [])


def test_a_failure_that_cannot_be_looked_into_is_still_the_same_failure(case_of, tmp_path):
    (tmp_path / "file").write_text("in the way")
    case = case_of("LayerNorm", steps=("eval",), tolerance=IMPOSSIBLE)
    record = _record(case, "onnx-script", tmp_path / "file")
    assert record.verdict == "fail"
    assert record.detail.startswith("the failure could not be looked into: NotADirectoryError")


def test_an_exported_fault_is_blamed_on_the_exporter(case_of):
    """The dynamo exporter writes training as inference; the graph itself then says something else."""
    case = case_of("BatchNorm2d", steps=("train",))
    tools = standard()
    seat = take_seat("onnx-dynamo", tools)
    record = execute(SharedCase(case, tools), seat, tools, {})
    assert record.verdict == "fail"
    assert record.detail.startswith("lost by the exporter")


@pytest.mark.parametrize("name", ["onnx-dynamo", "onnx-script"])
@pytest.mark.parametrize("op", ["BatchNorm2d", "LayerNorm", "GroupNorm"])
def test_one_dynamic_graph_serves_two_sizes(name, op, case_of):
    """Neither of them is the size that it was exported at."""
    args = {"num_groups": 3} if op == "GroupNorm" else {}
    shapes = {"LayerNorm": [(2, 3, 6), (5, 7, 6)]}.get(op, [(2, 6, 5, 4), (5, 6, 9, 8)])
    backend = load(name)
    digests = set()
    for shape in shapes:
        case = case_of(op, shape=shape, args=args, steps=("eval",), export=Export(dynamic=True))
        inputs = make_inputs(case)
        output = backend.run(case, inputs).steps[0].arrays["output"]
        expected = load("torch-cpu").run(case, inputs).steps[0].arrays["output"]
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)
        digests.add(len(backend._models._entries))
    assert digests == {1}
