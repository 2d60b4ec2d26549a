"""What a node of an ONNX graph computes, in the words of a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.observation import Array, Unsupported
from conformance.suite.case import Mode
from references.rounding import Class

Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a node computes.  ``outputs`` names the quantity that each of its outputs is; "" where it is none."""

    reference: str
    args: Mapping[str, Any]
    params: Mapping[str, Array] = field(default_factory=dict)
    buffers: Mapping[str, Array] = field(default_factory=dict)
    mode: Mode = "eval"
    outputs: tuple[str, ...] = ("output",)
    label: Class = "A"


#: (attributes, inputs with None for those that are left out, opset) -> meaning; raises Unsupported where there is none
Reader = Callable[[Attributes, list[Array | None], int], Meaning]


def at_least(inputs: list[Array | None], count: int) -> list[Array]:
    """The inputs that are there, of which the first ``count`` must be.

    Raises:
        Unsupported: one of them was not captured.
    """
    given = [array for array in inputs if array is not None]
    if len(given) < count or any(array is None for array in inputs[:count]):
        raise Unsupported("not all of its inputs were captured")
    return given
