"""Running one model in onnxruntime."""

from __future__ import annotations

import gc

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from conformance.backends.onnxruntime_session import Sessions, load_bytes, load_model, run_model
from conformance.backends.tensors import BFLOAT16

TYPES = {
    "float64": onnx.TensorProto.DOUBLE,
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "bfloat16": onnx.TensorProto.BFLOAT16,
}


def _identity(dtype, shape, op="Identity"):
    values = [helper.make_tensor_value_info(name, TYPES[dtype], shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_every_bfloat16_goes_through_the_runtime_unchanged():
    x = np.arange(2**16, dtype=np.uint32).astype(np.uint16).view(BFLOAT16).reshape(256, 256)
    output, _ = run_model(load_model(_identity("bfloat16", x.shape)), x)
    assert output.dtype == BFLOAT16
    assert output.tobytes() == x.tobytes()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(2, 3), (0, 3)])
def test_arrays_come_back_in_their_dtype_and_shape(dtype, shape):
    x = np.ones(shape, BFLOAT16 if dtype == "bfloat16" else dtype)
    output, seconds = run_model(load_model(_identity(dtype, shape)), x)
    assert (output.dtype, output.shape) == (x.dtype, x.shape)
    assert output.tobytes() == x.tobytes()
    assert seconds > 0


def test_an_output_outlives_its_session_and_its_input():
    session = load_model(_identity("float32", (3,)))
    x = np.float32([1, 2, 3])
    output, _ = run_model(session, x)
    x[:] = 0
    run_model(session, np.float32([7, 8, 9]))
    del session
    assert output.tolist() == [1, 2, 3]


def test_a_malformed_model_is_refused_by_the_checker():
    with pytest.raises(onnx.checker.ValidationError, match="NoSuchOperator"):
        load_model(_identity("float32", (3,), op="NoSuchOperator"))


def _alive() -> int:
    kind = onnxruntime.InferenceSession
    return sum(1 for each in gc.get_objects() if issubclass(type(each), kind))


def test_of_a_session_that_the_runtime_refused_nothing_is_left_while_its_exception_lives():
    before = _alive()
    with pytest.raises(Exception, match="NoSuchOperator") as raised:
        load_bytes(_identity("float32", (3,), op="NoSuchOperator").SerializeToString())
    assert raised.value is not None
    assert _alive() == before


def test_sessions_that_are_closed_are_gone():
    before, sessions = _alive(), Sessions()
    for size in (2, 3):
        sessions.of(_identity("float32", (size,)).SerializeToString())
    assert _alive() == before + 2
    sessions.close()
    assert _alive() == before
    assert sessions.of(_identity("float32", (2,)).SerializeToString()).takes == ("x",)
