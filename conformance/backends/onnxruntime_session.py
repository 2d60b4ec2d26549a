"""One ONNX model and one array through onnxruntime on the CPU: one thread, graph optimisations all or none."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
import onnxruntime

from conformance.backends.tensors import BFLOAT16, Array

_QUIET = 4  # only what is fatal; errors come as exceptions anyway


def load_model(model: onnx.ModelProto, *, optimise: bool = True) -> onnxruntime.InferenceSession:
    """A session for a model that is well formed.  Raises the words of the checker or of the runtime."""
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _QUIET
    if not optimise:  # all is onnxruntime's default
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_model(session: onnxruntime.InferenceSession, x: Array) -> tuple[Array, float]:
    """The first output and the seconds that it took.  The runtime is given a copy of x, and a copy is taken from it."""
    value = to_value(x)
    feed = {given.name: value for given in session.get_inputs()}
    started = time.perf_counter()
    output = session.run_with_ort_values(None, feed)[0]
    seconds = time.perf_counter() - started
    return from_value(output), seconds


@dataclass(frozen=True, slots=True)
class Ran:
    """What a model made of many arrays.  ``modified``: whether it wrote to what it was given, which was a copy."""

    outputs: list[Array]
    modified: bool
    seconds: float


def run_on_many(session: onnxruntime.InferenceSession, arrays: Sequence[Array]) -> Ran:
    """All outputs, for the inputs in the order of the graph."""
    values = [to_value(array) for array in arrays]
    feed = {given.name: value for given, value in zip(session.get_inputs(), values, strict=True)}
    started = time.perf_counter()
    outputs = session.run_with_ort_values(None, feed)
    seconds = time.perf_counter() - started
    modified = any(from_value(value).tobytes() != array.tobytes() for value, array in zip(values, arrays, strict=True))
    return Ran([from_value(value) for value in outputs], modified, seconds)


def to_value(array: Array) -> onnxruntime.OrtValue:
    copied = np.array(array, order="C", copy=True)
    if copied.dtype != BFLOAT16:
        return onnxruntime.OrtValue.ortvalue_from_numpy(copied)
    bits = copied.view(np.uint16)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, onnx.TensorProto.BFLOAT16)


def from_value(value: onnxruntime.OrtValue) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        plain: Array = np.array(value.numpy(), order="C", copy=True)
        return plain
    # onnxruntime has no NumPy type for bfloat16, but says where the values lie
    shape = tuple(value.shape())
    count = prod(shape)
    raw = ctypes.string_at(value.data_ptr(), count * BFLOAT16.itemsize) if count else b""
    array: Array = np.frombuffer(raw, np.uint16).copy().view(BFLOAT16).reshape(shape)
    return array
