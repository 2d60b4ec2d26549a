"""One ONNX model and one array through onnxruntime on the CPU: one thread, graph optimisations all or none."""

from __future__ import annotations

import ctypes
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
import onnx
import onnxruntime

from conformance.backends.arrays import BFLOAT16, Array

_QUIET = 4  # only what is fatal; errors come as exceptions anyway
_BFLOAT16_TYPE = "tensor(bfloat16)"

#: outputs, the bytes of what was given as they are now, seconds
Outcome = tuple[list[Array], list[Callable[[], bytes]], float]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session.  ``takes``: names of its inputs.  ``plain``: NumPy has a type for all that it takes and gives."""

    runtime: onnxruntime.InferenceSession
    takes: tuple[str, ...]
    plain: bool


def load_model(model: onnx.ModelProto, *, optimise: bool = True) -> Loaded:
    """A session for a model that is well formed.  Raises the words of the checker or of the runtime."""
    onnx.checker.check_model(model)
    return load_bytes(model.SerializeToString(), optimise=optimise)


def load_bytes(model: bytes, *, optimise: bool = True) -> Loaded:
    """A session for a model that has been checked.  Raises the words of the runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _QUIET
    options.enable_cpu_mem_arena = False  # many sessions live at once, and each runs a few times
    if not optimise:  # all is onnxruntime's default
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        runtime = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - it goes on to the caller
        raise error.with_traceback(None)  # noqa: B904 - its own; its frames would keep half a session alive
    given = runtime.get_inputs()
    types = [value.type for value in (*given, *runtime.get_outputs())]
    return Loaded(runtime, tuple(value.name for value in given), _BFLOAT16_TYPE not in types)


class Sessions:
    """Sessions by the models that they were made of; the least recently used go when there are too many."""

    def __init__(self, count: int = 64, size: int = 64 * 2**20) -> None:
        self._count, self._size = count, size
        self._held = 0
        self._sessions: OrderedDict[tuple[bytes, bool], Loaded] = OrderedDict()

    def of(self, model: bytes, *, optimise: bool = True) -> Loaded:
        """The session of a model that has been checked.  Raises the words of the runtime."""
        key = (model, optimise)
        found = self._sessions.get(key)
        if found is not None:
            self._sessions.move_to_end(key)
            return found
        made = load_bytes(model, optimise=optimise)
        self._sessions[key] = made
        self._held += len(model)
        while len(self._sessions) > 1 and (len(self._sessions) > self._count or self._held > self._size):
            self._held -= len(self._drop())
        return made

    def close(self) -> None:
        """End all sessions."""
        while self._sessions:
            self._drop()
        self._held = 0

    def _drop(self) -> bytes:
        """End the session that was not used for longest, which the runtime takes its time for."""
        (model, _), _ = self._sessions.popitem(last=False)
        return model


def run_model(session: Loaded, x: Array) -> tuple[Array, float]:
    """The first output and the seconds that it took.  The runtime is given a copy of x, and a copy is taken from it."""
    feeds = _run if session.plain else _run_on_values
    (output, *_), _, seconds = feeds(session, [x] * len(session.takes))
    return output, seconds


@dataclass(frozen=True, slots=True)
class Ran:
    """What a model made of many arrays.  ``modified``: whether it wrote to what it was given, which was a copy."""

    outputs: list[Array]
    modified: bool
    seconds: float


def run_on_many(session: Loaded, arrays: Sequence[Array]) -> Ran:
    """All outputs, for the inputs in the order of the graph."""
    outputs, given, seconds = (_run if session.plain else _run_on_values)(session, arrays)
    modified = any(each() != array.tobytes() for each, array in zip(given, arrays, strict=True))
    return Ran(outputs, modified, seconds)


def _run(session: Loaded, arrays: Sequence[Array]) -> Outcome:
    copies = [np.array(array, order="C", copy=True) for array in arrays]
    feed = dict(zip(session.takes, copies, strict=True))
    started = time.perf_counter()
    outputs = session.runtime.run(None, feed)
    seconds = time.perf_counter() - started
    return [np.array(output, order="C", copy=True) for output in outputs], [copy.tobytes for copy in copies], seconds


def _run_on_values(session: Loaded, arrays: Sequence[Array]) -> Outcome:
    values = [to_value(array) for array in arrays]
    feed = dict(zip(session.takes, values, strict=True))
    started = time.perf_counter()
    outputs = session.runtime.run_with_ort_values(None, feed)
    seconds = time.perf_counter() - started
    after: list[Callable[[], bytes]] = [partial(_bytes_of, value) for value in values]
    return [from_value(value) for value in outputs], after, seconds


def _bytes_of(value: onnxruntime.OrtValue) -> bytes:
    return from_value(value).tobytes()


def to_value(array: Array) -> onnxruntime.OrtValue:
    copied = np.array(array, order="C", copy=True)
    if copied.dtype != BFLOAT16:
        return onnxruntime.OrtValue.ortvalue_from_numpy(copied)
    bits = copied.view(np.uint16)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, onnx.TensorProto.BFLOAT16)


def from_value(value: onnxruntime.OrtValue) -> Array:
    if value.data_type() != _BFLOAT16_TYPE:
        plain: Array = np.array(value.numpy(), order="C", copy=True)
        return plain
    # onnxruntime has no NumPy type for bfloat16, but says where the values lie
    shape = tuple(value.shape())
    count = prod(shape)
    raw = ctypes.string_at(value.data_ptr(), count * BFLOAT16.itemsize) if count else b""
    array: Array = np.frombuffer(raw, np.uint16).copy().view(BFLOAT16).reshape(shape)
    return array
