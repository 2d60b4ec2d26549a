"""The operators of ONNX that we have references for."""

from __future__ import annotations

import onnx

from conformance.backends.onnx_joins import JOIN_READERS
from conformance.backends.onnx_layers import LAYER_READERS
from conformance.backends.onnx_meaning import Meaning
from conformance.backends.onnx_normalisation import NORMALISATION_READERS
from conformance.observation import Array, Unsupported

_READERS = {**NORMALISATION_READERS, **LAYER_READERS, **JOIN_READERS}


def meaning_of(node: onnx.NodeProto, inputs: list[Array | None], opset: int) -> Meaning:
    """The op that a node is.

    inputs: the values that the node was given, None for an optional input that is left out.

    Raises:
        Unsupported: we have no reference for it; the message says what is missing.
    """
    read = _READERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if read is None:
        domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
        inside = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        raise Unsupported(
            f"no reference for {domain}{node.op_type}{', nor for the nodes inside of it' if inside else ''}"
        )
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return read(attributes, inputs, opset)
