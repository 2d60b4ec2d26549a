"""Inputs of small cases, kept on disk between runs: to read them takes a fifth of the time of making them.

They stand under a digest of the whole case and of every line of source that makes them, so that what is read back is
what would be made, bit for bit.  How they are kept: see pack_cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from conformance.backends.export_cache import standard_cache
from conformance.cache_folder import INPUTS_LIMIT, inputs_folder
from conformance.inputs import Inputs, StepInputs, make_inputs
from conformance.pack_cache import PackCache
from conformance.source_digest import source_digest
from conformance.suite.case import Case
from conformance.suite.identity import spelled
from references.rounding import STORAGE

Array = NDArray[Any]

FORM = 1  # of what is written; another number makes everything anew
LARGEST = 1 << 22  # bytes of all arrays of a case; the shipped suite has twenty that are larger
_ALIGNED = 16  # bytes at whose multiples arrays begin
#: beside the inputs themselves: the geometry, shapes and names that they follow
_DECIDING = ("inputs", "ops", "composition.py", "reference.py", "suite/data_families.py")


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """An array: its name, the name of its dtype, its shape, and where its bytes begin."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """Parameters, buffers, and for each step x and grad_output; ``data`` is the bytes of all."""

    params: tuple[_Place, ...]
    buffers: tuple[_Place, ...]
    steps: tuple[tuple[_Place, _Place], ...]
    data: memoryview


_DECODER = msgspec.msgpack.Decoder(_Kept)


class KeptInputs:
    """``make_inputs``, which reads what it made before."""

    def __init__(self, store: PackCache) -> None:
        self._store = store

    def __call__(self, case: Case) -> Inputs:
        """The inputs of a case: writable arrays, bit for bit those of ``make_inputs``."""
        if 2 * len(case.steps) * prod(case.shape) > LARGEST:  # with one byte for an element it is too large
            return make_inputs(case)
        key = _key(case)
        data = self._store.get(key)
        if data is not None:
            try:
                return decoded(data).made_for(case)
            except (msgspec.MsgspecError, KeyError, TypeError, ValueError):  # whole, but not ours
                pass
        made = make_inputs(case)
        if sum(array.nbytes for array in made.arrays()) <= LARGEST:
            self._store.put(key, encoded(made))
        return made


def standard_inputs() -> KeptInputs | None:
    """Those of this machine; None where caches are switched off."""
    return None if standard_cache() is None else KeptInputs(PackCache(inputs_folder(), INPUTS_LIMIT))


def _key(case: Case) -> str:
    return hashlib.sha256(making() + spelled(case)).hexdigest()


@cache
def making() -> bytes:
    """The digest of everything that makes inputs, which is the same for all cases of a process."""
    return source_digest(FORM, _DECIDING)


# ---- to bytes and back ----------------------------------------------------------------------------------------------


def encoded(inputs: Inputs) -> bytes:
    """An outline of the arrays, and their bytes."""
    data = bytearray()

    def placed(name: str, array: Array) -> _Place:
        data.extend(bytes(-len(data) % _ALIGNED))
        start = len(data)
        data.extend(array.tobytes())
        return _Place(name, array.dtype.name, array.shape, start)

    def all_of(arrays: Mapping[str, Array]) -> tuple[_Place, ...]:
        return tuple(placed(name, array) for name, array in arrays.items())

    params, buffers = all_of(inputs.params), all_of(inputs.buffers)
    steps = tuple((placed("x", step.x), placed("grad_output", step.grad_output)) for step in inputs.steps)
    return msgspec.msgpack.encode(_Kept(params, buffers, steps, memoryview(data)))


def decoded(data: bytes) -> Inputs:
    """What ``encoded`` was given, in memory of its own.

    Raises:
        msgspec.MsgspecError: it was not ``encoded`` that wrote this.
        KeyError: a dtype is none that a case can have.
        TypeError, ValueError: an array lies outside of the data.
    """
    kept = _DECODER.decode(data)
    memory = bytearray(kept.data)

    def array(place: _Place) -> Array:
        return np.ndarray(place.shape, STORAGE[place.dtype], memory, place.start)

    return Inputs(
        {place.name: array(place) for place in kept.params},
        {place.name: array(place) for place in kept.buffers},
        tuple(StepInputs(array(x), array(grad_output)) for x, grad_output in kept.steps),
    )
