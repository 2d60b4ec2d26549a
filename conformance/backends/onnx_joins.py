"""Operators of ONNX that networks have beside layers: Add and Concat, in which tensors meet, and Dropout."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.backends.onnx_meaning import Attributes, Meaning, Reader, at_least
from conformance.observation import Array, Unsupported


def _add(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - alike for all readers
    _, other = at_least(inputs, 2)[:2]
    return Meaning("references.joins:Add", {}, {"other": other})


def _concat(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - as above
    _, *others = at_least(inputs, len(inputs))
    return Meaning("references.joins:Concat", {"axis": int(a["axis"])}, {str(n): one for n, one in enumerate(others)})


def _dropout(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - as above
    x, *rest = inputs
    ratio, training = (*rest, None, None)[:2]
    draws = training is not None and bool(training) and (ratio is None or float(ratio) > 0)
    if x is None or draws:
        raise Unsupported("a node that draws has no value of its own; its network shows what it drew only in part")
    return Meaning("references.flatten:Reshape", {"shape": list(x.shape)})


JOIN_READERS: Mapping[str, Reader] = {"Add": _add, "Concat": _concat, "Dropout": _dropout}
