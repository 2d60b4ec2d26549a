"""The state of a layer and where a graph holds it, so that graphs that differ only in values are one.

A parameter that an exporter only copies into the graph can be replaced there by another of its shape.  That is never
assumed: the initializer must hold exactly the bytes of exactly one tensor of the state, and no other constant of the
graph may look as if it had been computed from the state.  Then a tensor that is nowhere in the graph is one that the
layer does not need.  What cannot be told apart (zeros, ones, single numbers, equal tensors) stays part of the digest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Iterator, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from conformance.backends.models import Bytewise, Entry, Made, Slot, entry_of
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
    """The model with its replaceable initializers known, or Bytewise where something was computed from the state."""
    free = {array.tobytes(): name for name, array in replaceable(state).items()}
    model = _copied(model)
    slots = {}
    for constant in model.graph.initializer:
        array = numpy_helper.to_array(constant)
        name = free.get(array.tobytes())
        if name is not None and array.dtype == state[name].dtype:
            slots[constant.name] = name
            constant.CopyFrom(_held(constant, array.tobytes()))
    if any(map(_computed, _other_constants(model.graph, slots))):
        return Bytewise()
    made = entry_of(model)
    return Made(made.model, tuple(_found(model, slots, made.model))) if isinstance(made, Made) else made


def _copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _held(constant: onnx.TensorProto, data: bytes) -> onnx.TensorProto:
    """A tensor that says its values in bytes, and nothing but its values."""
    return onnx.TensorProto(name=constant.name, data_type=constant.data_type, dims=constant.dims, raw_data=data)


def _found(model: onnx.ModelProto, slots: Mapping[str, str], whole: bytes) -> Iterator[Slot]:
    """Where the slots lie: with every bit of one of them turned over, nothing else of the model changes."""
    before = np.frombuffer(whole, np.uint8)
    for constant in model.graph.initializer:
        if constant.name not in slots:
            continue
        held = constant.raw_data
        constant.raw_data = bytes(byte ^ 0xFF for byte in held)
        after = np.frombuffer(model.SerializeToString(deterministic=True), np.uint8)
        constant.raw_data = held
        places = np.flatnonzero(before != after)
        assert len(places) == len(held) == places[-1] - places[0] + 1
        yield Slot(slots[constant.name], int(places[0]), int(places[-1]) + 1)


def bind(made: Made, state: State) -> bytes:
    """The model with the values of this state in its slots, as bytes."""
    if not made.slots:
        return made.model
    bound = bytearray(made.model)
    for slot in made.slots:
        bound[slot.start : slot.end] = state[slot.name].tobytes()
    assert len(bound) == len(made.model), "a state of other sizes than the one that was exported"
    return bytes(bound)


def _uniform(array: Array) -> bool:
    """Whether all values are one; also where there is one, or none."""
    flat = array.reshape(-1)
    return bool(array.size <= 1 or (flat == flat[0]).all())


def _computed(array: Array) -> bool:
    """Whether a constant might have been computed from the state: floating-point numbers that are not all alike."""
    return array.dtype.kind not in "iub" and not _uniform(array)


def _other_constants(graph: onnx.GraphProto, slots: Container[str]) -> Iterator[Array]:
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
