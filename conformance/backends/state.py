"""The state of a layer and where a graph holds it, so that graphs that differ only in values are one.

A parameter that an exporter only copies into the graph can be replaced there by another of its shape.  That is never
assumed: the initializer must hold exactly the bytes of exactly one tensor of the state, and no other constant of the
graph may look as if it had been computed from the state.  Then a tensor that is nowhere in the graph is one that the
layer does not need.  What cannot be told apart (zeros, ones, single numbers, equal tensors) stays part of the digest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from conformance.backends.models import Bytewise, Entry, Made
from conformance.observation import Array

State = Mapping[str, Array]


def replaceable(state: State) -> dict[str, Array]:
    """The tensors that can be recognised in a graph: of several values, and equal to no other."""
    seen = Counter(array.tobytes() for array in state.values())
    return {name: array for name, array in state.items() if not _uniform(array) and seen[array.tobytes()] == 1}


def outline(state: State) -> str:
    """The digest of a state but for the values that can be replaced."""
    free = replaceable(state)
    found = hashlib.sha256()
    for name, array in state.items():
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        if name not in free:
            found.update(array.tobytes())
    return found.hexdigest()


def fingerprint(state: State) -> str:
    """The digest of a state with every value."""
    found = hashlib.sha256()
    for name, array in state.items():
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def template(model: onnx.ModelProto, state: State) -> Entry:
    """The model with its replaceable initializers named, or Bytewise where something was computed from the state."""
    free = {array.tobytes(): name for name, array in replaceable(state).items()}
    slots = {}
    for constant in model.graph.initializer:
        array = numpy_helper.to_array(constant)
        name = free.get(array.tobytes())
        if name is not None and array.dtype == state[name].dtype:
            slots[constant.name] = name
    if any(map(_computed, _other_constants(model.graph, slots))):
        return Bytewise()
    return Made(model.SerializeToString(deterministic=True), slots)


def bind(made: Made, state: State) -> onnx.ModelProto:
    """The model with the values of this state in its slots."""
    model = onnx.load_model_from_string(made.model)
    for constant in model.graph.initializer:
        name = made.slots.get(constant.name)
        if name is not None:
            whole = onnx.TensorProto(
                name=constant.name, data_type=constant.data_type, dims=constant.dims, raw_data=state[name].tobytes()
            )
            constant.CopyFrom(whole)
    return model


def _uniform(array: Array) -> bool:
    """Whether all values are one; also where there is one, or none."""
    flat = array.reshape(-1)
    return bool(array.size <= 1 or (flat == flat[0]).all())


def _computed(array: Array) -> bool:
    """Whether a constant might have been computed from the state: floating-point numbers that are not all alike."""
    return array.dtype.kind not in "iub" and not _uniform(array)


def _other_constants(graph: onnx.GraphProto, slots: Mapping[str, str]) -> Iterator[Array]:
    for constant in graph.initializer:
        if constant.name not in slots:
            yield numpy_helper.to_array(constant)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield numpy_helper.to_array(attribute.t)
            if attribute.floats:
                yield np.array(attribute.floats)
            if attribute.HasField("g"):
                yield from _other_constants(attribute.g, slots)
