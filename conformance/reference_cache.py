"""What references said, kept on disk between runs; a result that is read back is that which was computed, bit for bit.

A result stands under a digest of everything that it depends on: the source of the references and of what composes
them, the case, its inputs, precision class, variant and versions.  How it is kept: see pack_cache.

Nobody is told of a failure from a kept result: see ``engine.tools``.
"""

from __future__ import annotations

import hashlib
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from conformance.backends.export_cache import standard_cache
from conformance.cache_folder import REFERENCES_LIMIT, references_folder
from conformance.input_cache import making
from conformance.inputs import Inputs
from conformance.ops import OPS
from conformance.pack_cache import PackCache
from conformance.source_digest import source_digest
from conformance.suite.case import Case
from conformance.suite.identity import spelled
from references.expected import Expected, Quantity
from references.rounding import Class

Array = NDArray[Any]

FORM = 1  # of what is written; another number makes everything anew
SMALL = 1 << 11  # elements of an input; of a larger one the arrays take about as long to read as to compute
#: what the references say is decided by these, too
_DECIDING = ("composition.py", "reference.py", "judge/expectation.py", "judge/end_to_end.py", "inputs/bits.py", "ops")
_LENGTH = struct.Struct("<Q")


class _Outline(msgspec.Struct, frozen=True, array_like=True):
    """A quantity without its arrays: name, format, shape, dtypes of value and scale."""

    name: str
    stored: str
    shape: tuple[int, ...]
    value: str
    scale: str
    masked: bool
    any_nonfinite: bool


class _Step(msgspec.Struct, frozen=True, array_like=True):
    n: int
    kappa: float | None
    undetermined_slices: float
    quantities: tuple[_Outline, ...]


_STEPS = msgspec.msgpack.Decoder(tuple[_Step, ...])


class KeptReferences:
    """Expected steps by everything that decides them."""

    def __init__(self, store: PackCache) -> None:
        self._store = store

    def key(self, case: Case, inputs: Inputs, label: Class, variant: str) -> str | None:
        """The digest under which a result stands; None where it is not worth keeping, or not ours to tell."""
        if any(step.x.size > SMALL for step in inputs.steps) or not _ours(case.op, variant):
            return None
        parts = [_surroundings(), spelled(case), f"{label}\n{variant}\n".encode()]
        if inputs.are_of(case):  # they follow from the case and from what makes them
            return hashlib.sha256(b"".join([*parts, making()])).hexdigest()
        arrays = [array.tobytes() for array in inputs.arrays()]
        return hashlib.sha256(b"".join([*parts, repr([*map(len, arrays)]).encode(), *arrays])).hexdigest()

    def get(self, key: str) -> list[Expected] | None:
        """The steps under a key; they hold no state to go on from, since nothing goes on from them."""
        data = self._store.get(key)
        return None if data is None else decoded(data)

    def put(self, key: str, steps: Sequence[Expected]) -> None:
        """Keep the steps; a disk that takes nothing costs time and no result."""
        self._store.put(key, encoded(steps))


def standard_references() -> KeptReferences | None:
    """Those of this machine; None where caches are switched off."""
    if standard_cache() is None:
        return None
    return KeptReferences(PackCache(references_folder(), REFERENCES_LIMIT))


def _ours(op: str, variant: str) -> bool:
    """Whether the reference is one of those whose source is part of the key; not that of another distribution."""
    entry = OPS[op]
    return (entry.variants[variant] if variant else entry.reference).startswith("references.")


@cache
def _surroundings() -> bytes:
    """Everything that is the same for all cases of a process."""
    return source_digest(FORM, _DECIDING)


# ---- to bytes and back ----------------------------------------------------------------------------------------------


def encoded(steps: Sequence[Expected]) -> bytes:
    """An outline of the steps, then the arrays of each dtype end to end."""
    by_dtype: dict[str, list[bytes]] = defaultdict(list)
    outlines = []
    for step in steps:
        quantities = []
        for name, quantity in step.quantities.items():
            value, scale, mask = quantity.value, quantity.scale, quantity.undetermined
            for array in (value, scale) if mask is None else (value, scale, mask):
                by_dtype[array.dtype.str].append(array.tobytes())
            quantities.append(
                _Outline(
                    name,
                    quantity.stored,
                    value.shape,
                    value.dtype.str,
                    scale.dtype.str,
                    mask is not None,
                    quantity.any_nonfinite,
                )
            )
        outlines.append(_Step(step.n, step.kappa, step.undetermined_slices, tuple(quantities)))
    parts = [msgspec.msgpack.encode(outlines)]
    for dtype, arrays in by_dtype.items():
        parts += [dtype.encode(), b"".join(arrays)]
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def decoded(data: bytes) -> list[Expected]:
    """What ``encoded`` was given, without the states."""
    parts = _parts(data)
    outlines = _STEPS.decode(next(parts))
    flat = {(name := bytes(dtype).decode()): np.frombuffer(bytearray(next(parts)), name) for dtype in parts}
    used = dict.fromkeys(flat, 0)

    def taken(dtype: str, shape: tuple[int, ...], size: int) -> Array:
        start = used[dtype]
        used[dtype] = start + size
        return flat[dtype][start : start + size].reshape(shape)

    steps = []
    for outline in outlines:
        quantities = {}
        for each in outline.quantities:
            size = prod(each.shape)
            value, scale = taken(each.value, each.shape, size), taken(each.scale, each.shape, size)
            mask = taken("|b1", each.shape, size) if each.masked else None
            quantities[each.name] = Quantity(value, scale, each.stored, mask, each.any_nonfinite)
        steps.append(
            Expected(
                quantities,
                {},
                n=outline.n,
                kappa=outline.kappa,
                undetermined_slices=outline.undetermined_slices,
            )
        )
    return steps


def _parts(data: bytes) -> Iterator[memoryview]:
    start, whole = 0, memoryview(data)
    while start < len(whole):
        (length,) = _LENGTH.unpack_from(whole, start)
        start += _LENGTH.size + length
        yield whole[start - length : start]
