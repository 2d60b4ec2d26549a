"""The normalisation operators of ONNX, as the ops that they are: which reference, which arguments, which parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from conformance.observation import Array, Unsupported
from conformance.ops import OPS
from conformance.suite.case import Mode
from references.rounding import Class

Attributes = Mapping[str, Any]
_EPSILON = float(np.float32(1e-5))  # attributes of ONNX are float32


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


def _batch_normalization(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:
    x, scale, bias, mean, variance = _all_of(inputs, 5)
    if opset < 9:
        raise Unsupported(f"no reference for BatchNormalization of opset {opset}, only from 9 on")
    training = bool(a.get("training_mode", 0))
    return Meaning(
        reference="references.onnx_variants:OnnxBatchNormalization",
        args={
            "num_features": x.shape[1],
            "eps": float(a.get("epsilon", _EPSILON)),
            "momentum": float(a.get("momentum", np.float32(0.9))),
            "affine": True,
            "track_running_stats": True,
            "bias": True,
        },
        params={"weight": scale, "bias": bias},
        buffers={"running_mean": mean, "running_var": variance, "num_batches_tracked": np.array(0, np.int64)},
        mode="train" if training else "eval",
        outputs=("output", "buffer.running_mean", "buffer.running_var") if training else ("output",),
    )


def _instance_normalization(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - alike
    x, scale, bias = _all_of(inputs, 3)
    op = f"InstanceNorm{x.ndim - 2}d"
    if op not in OPS:
        raise Unsupported(f"no reference for InstanceNormalization of rank {x.ndim}")
    args = OPS[op].defaults() | {"num_features": x.shape[1], "eps": float(a.get("epsilon", _EPSILON)), "affine": True}
    return Meaning(OPS[op].reference, args, {"weight": scale, "bias": bias})


def _layer_normalization(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - alike
    x, scale, *rest = _at_least(inputs, 2)
    shape = _normalized_shape(a, x)
    bias = rest[0] if rest else None
    args = {"normalized_shape": shape, "eps": float(a.get("epsilon", _EPSILON)), "elementwise_affine": True}
    params = {"weight": np.broadcast_to(scale, shape)}
    if bias is not None:
        params["bias"] = np.broadcast_to(bias, shape)
    return Meaning(
        OPS["LayerNorm"].reference,
        args | {"bias": bias is not None},
        params,
        label=_stash(a, x),
        outputs=("output", "", ""),
    )


def _rms_normalization(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - alike
    x, scale = _all_of(inputs, 2)
    shape = _normalized_shape(a, x)
    args = {"normalized_shape": shape, "eps": float(a.get("epsilon", _EPSILON)), "elementwise_affine": True}
    return Meaning(OPS["RMSNorm"].reference, args, {"weight": np.broadcast_to(scale, shape)}, label=_stash(a, x))


def _group_normalization(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:
    x, scale, bias = _all_of(inputs, 3)
    groups, channels = int(a["num_groups"]), x.shape[1]
    if opset < 21:  # one scale and one bias for each group; later ones have them for each channel
        scale, bias = (np.repeat(array, channels // groups) for array in (scale, bias))
    args = {
        "num_groups": groups,
        "num_channels": channels,
        "eps": float(a.get("epsilon", _EPSILON)),
        "affine": True,
        "bias": True,
    }
    label = _stash(a, x) if opset >= 21 else "A"
    return Meaning(OPS["GroupNorm"].reference, args, {"weight": scale, "bias": bias}, label=label)


def _lrn(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - all versions are alike
    _all_of(inputs, 1)
    args = {
        "size": int(a["size"]),
        "alpha": float(a.get("alpha", np.float32(1e-4))),
        "beta": float(a.get("beta", 0.75)),
        "k": float(a.get("bias", 1.0)),
    }
    return Meaning("references.onnx_variants:OnnxLRN", args)


def _normalized_shape(a: Attributes, x: Array) -> list[int]:
    return list(x.shape[int(a.get("axis", -1)) % x.ndim :])


def _stash(a: Attributes, x: Array) -> Class:
    """stash_type 1, the default, asks for statistics in float32, whatever the input is."""
    return "float32" if x.dtype == np.float64 and int(a.get("stash_type", 1)) == onnx.TensorProto.FLOAT else "A"


def _at_least(inputs: list[Array | None], count: int) -> list[Array]:
    given = [array for array in inputs if array is not None]
    if len(given) < count or any(array is None for array in inputs[:count]):
        raise Unsupported("not all of its inputs were captured")
    return given


def _all_of(inputs: list[Array | None], count: int) -> list[Array]:
    return _at_least(inputs, count)[:count]


_READERS: Mapping[str, Callable[[Attributes, list[Array | None], int], Meaning]] = {
    "BatchNormalization": _batch_normalization,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "RMSNormalization": _rms_normalization,
    "GroupNormalization": _group_normalization,
    "LRN": _lrn,
}
