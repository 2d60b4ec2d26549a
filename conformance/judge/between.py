"""What happened to tensors between the modules of a network, where no hook sees it: additions, reshapes, anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations

import numpy as np

from conformance.captured import Captured
from conformance.observation import Array

#: sums are looked for among at most so many tensors, the latest ones
_SUMMANDS = 32


@dataclass(frozen=True, slots=True)
class Seam:
    """A place where a tensor did not arrive as it left; ``after`` is the call that shows it."""

    after: Captured
    sentence: str


def between(captured: Sequence[Captured]) -> tuple[Seam, ...]:
    """Where an input is not bit for bit an earlier output, and where a gradient is not that of a later input.

    A reshape that keeps the order of the elements, and the sum of two tensors, are recognised and named as such.
    """
    return (*_forward(captured), *_backward(captured))


def _forward(captured: Sequence[Captured]) -> Iterable[Seam]:
    earlier: dict[bytes, tuple[str, Array]] = {}  # inputs as well: two branches may start from one tensor
    before: Captured | None = None
    for call in captured:
        if call.x is None:
            continue
        if before is not None:
            place = f"between {before} and {call} something that is not a module"
            what = _explained(call.x, earlier)
            if what:
                yield Seam(call, f"{place} {what}")
        earlier.setdefault(_digest(call.x), (f"the input of {call}", call.x))
        if "output" in call.arrays:
            earlier[_digest(call.arrays["output"])] = (f"the output of {call}", call.arrays["output"])
        before = call


def _backward(captured: Sequence[Captured]) -> Iterable[Seam]:
    later: dict[bytes, tuple[str, Array]] = {}
    used: set[bytes] = set()  # inputs of later calls that have a gradient
    for call in reversed(captured):
        output = call.arrays.get("output")
        if call.grad_output is not None and output is not None and _digest(output) in used:
            what = _explained(call.grad_output, later)
            if what and not what.startswith("reshaped"):
                yield Seam(call, f"on the way back to {call} something that is not a module {what}")
        if "grad_input" in call.arrays and call.x is not None:
            gradient = call.arrays["grad_input"]
            later.setdefault(_digest(gradient), (f"the input gradient of {call}", gradient))
            used.add(_digest(call.x))


def _explained(tensor: Array, known: dict[bytes, tuple[str, Array]]) -> str:
    """How a tensor came from the known ones: "" where it is one of them; else what was done, as a verb."""
    if _digest(tensor) in known:
        return ""
    flat = _digest(tensor.reshape(-1))
    for name, other in known.values():
        if other.size == tensor.size and _digest(other.reshape(-1)) == flat:
            return f"reshaped {name} from {list(other.shape)} to {list(tensor.shape)}"
    for (one, a), (two, b) in combinations(_alike(tensor, known.values()), 2):
        if _same(_sum(a, b), tensor):
            return f"added {one} and {two}"
    return "changed the tensor"


def _alike(tensor: Array, known: Iterable[tuple[str, Array]]) -> list[tuple[str, Array]]:
    same = [(name, other) for name, other in known if other.shape == tensor.shape and other.dtype == tensor.dtype]
    return same[-_SUMMANDS:]


def _sum(a: Array, b: Array) -> Array:
    with np.errstate(all="ignore"):
        total: Array = a + b
    return total


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _digest(array: Array) -> bytes:
    head = f"{array.dtype.name}{array.shape}".encode()
    return blake2b(head + np.ascontiguousarray(array).tobytes(), digest_size=16).digest()
