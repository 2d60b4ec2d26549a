"""The normalisation operators of ONNX, as the ops that they are: which reference, which arguments, which parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from conformance.backends.onnx_meaning import Attributes, Meaning, Reader, at_least
from conformance.observation import Array, Unsupported
from conformance.ops import OPS
from references.rounding import Class

_EPSILON = float(np.float32(1e-5))  # attributes of ONNX are float32


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
    x, scale, *rest = at_least(inputs, 2)
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


def _all_of(inputs: list[Array | None], count: int) -> list[Array]:
    return at_least(inputs, count)[:count]


NORMALISATION_READERS: Mapping[str, Reader] = {
    "BatchNormalization": _batch_normalization,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "RMSNormalization": _rms_normalization,
    "GroupNormalization": _group_normalization,
    "LRN": _lrn,
}
