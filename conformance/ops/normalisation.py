"""The ten normalisation layers."""

from __future__ import annotations

from math import prod
from typing import Any

from conformance.ops.entry import Args, Argument, Op, Shape
from conformance.ops.misfits import all_of, divided, size_of_axis, trailing_axes, where_it_matters

_EPS = Argument("eps", ("float", "int"), 1e-5, "added to the variance, inside the square root")
_AFFINE_BIAS = Argument("bias", ("bool",), True, "whether an affine layer also has a bias")


def _facts(shape: Shape, channels: int, normalised: int) -> dict[str, int]:
    return {
        "rank": len(shape),
        "batch": shape[0] if shape else 0,
        "channels": channels,
        "elements": prod(shape),
        "normalised": normalised,
    }


def _affine(channels: int, args: Args, affine: str) -> dict[str, Shape]:
    if not args[affine]:
        return {}
    shape: Shape = (channels,)
    return {"weight": shape} | ({"bias": shape} if args["bias"] else {})


# ---- BatchNorm and InstanceNorm: statistics per channel, running buffers ----------------------------------------


def _running(args: Args) -> dict[str, Shape]:
    if not args["track_running_stats"]:
        return {}
    channels: Shape = (int(args["num_features"]),)
    # torch's InstanceNorm has num_batches_tracked too, but never counts
    return {"running_mean": channels, "running_var": channels, "num_batches_tracked": ()}


def _batch_norm(spatial: int) -> Op:
    def complete(args: Args, shape: Shape) -> dict[str, Any]:
        features = args["num_features"]
        return {**args, "num_features": features if features is not None else (shape[1] if len(shape) > 1 else 1)}

    def facts(args: Args, shape: Shape) -> dict[str, int]:
        values = prod(shape) // shape[1] if len(shape) > 1 and shape[1] else 0
        return _facts(shape, int(args["num_features"]), values) | {"values_per_channel": values}

    return Op(
        name=f"BatchNorm{spatial}d",
        family="batch_norm",
        reference="references.batch_norm:BatchNorm",
        arguments=(
            Argument("num_features", ("int", "null"), None, "C; null takes the second axis of the shape"),
            _EPS,
            Argument("momentum", ("float", "int", "null"), 0.1, "weight of the new value; null: cumulative average"),
            Argument("affine", ("bool",), True),
            Argument("track_running_stats", ("bool",), True),
            _AFFINE_BIAS,
        ),
        ranks=(2, 3) if spatial == 1 else (spatial + 2,),
        complete=complete,
        parameters=lambda args: _affine(int(args["num_features"]), args, "affine"),
        buffers=_running,
        facts=facts,
        keeps_memory_format={2: ("channels_last",), 3: ("channels_last_3d",)}.get(spatial, ()),
        misfit=where_it_matters(size_of_axis("num_features", 1), "affine", "track_running_stats"),
        variants={
            "onnx": "references.onnx_variants:OnnxBatchNormalization",
            "inference": "references.onnx_variants:InferenceForm",
        },
    )


def _instance_norm(spatial: int) -> Op:
    def channel_axis(shape: Shape) -> int:
        return 0 if len(shape) == spatial + 1 else 1

    def complete(args: Args, shape: Shape) -> dict[str, Any]:
        features, axis = args["num_features"], channel_axis(shape)
        return {**args, "num_features": features if features is not None else (shape[axis] if len(shape) > axis else 1)}

    def facts(args: Args, shape: Shape) -> dict[str, int]:
        pixels = prod(shape[channel_axis(shape) + 1 :])
        unbatched = channel_axis(shape) == 0
        return _facts(shape, int(args["num_features"]), pixels) | {
            "batch": 1 if unbatched else (shape[0] if shape else 0),
            "values_per_channel": pixels,
            "unbatched": int(unbatched),
        }

    return Op(
        name=f"InstanceNorm{spatial}d",
        family="instance_norm",
        reference=f"references.instance_norm:InstanceNorm{spatial}d",
        arguments=(
            Argument("num_features", ("int", "null"), None, "C; null takes the channel axis of the shape"),
            _EPS,
            Argument("momentum", ("float", "int"), 0.1, "weight of the new value"),
            Argument("affine", ("bool",), False),
            Argument("track_running_stats", ("bool",), False),
            _AFFINE_BIAS,
        ),
        ranks=(spatial + 1, spatial + 2),
        complete=complete,
        parameters=lambda args: _affine(int(args["num_features"]), args, "affine"),
        buffers=_running,
        facts=facts,
        misfit=where_it_matters(size_of_axis("num_features", -spatial - 1), "affine", "track_running_stats"),
    )


# ---- LayerNorm and RMSNorm: statistics over the trailing axes -----------------------------------------------------


def _trailing(args: Args, shape: Shape) -> dict[str, Any]:
    """``normalized_shape`` may be an int, a list, or ``{last: k}``, the last k axes of the shape, or all."""
    given = args["normalized_shape"]
    if isinstance(given, dict):
        count = given["last"]
        given = list(shape[max(0, len(shape) - count) :])
    elif isinstance(given, int):
        given = [given]
    return {**args, "normalized_shape": [int(size) for size in given]}


def _trailing_facts(args: Args, shape: Shape) -> dict[str, int]:
    sizes = args["normalized_shape"]
    return _facts(shape, prod(sizes), prod(sizes)) | {"normalized_axes": len(sizes)}


_NORMALIZED_SHAPE = Argument("normalized_shape", ("int", "ints", "last"), {"last": 1}, "sizes of the trailing axes")


def _layer_norm_parameters(args: Args) -> dict[str, Shape]:
    shape = tuple(args["normalized_shape"])
    if not args["elementwise_affine"]:
        return {}
    return {"weight": shape} | ({"bias": shape} if args["bias"] else {})


_LAYER_NORM = Op(
    name="LayerNorm",
    family="layer_norm",
    reference="references.layer_norm:LayerNorm",
    arguments=(
        _NORMALIZED_SHAPE,
        _EPS,
        Argument("elementwise_affine", ("bool",), True),
        Argument("bias", ("bool",), True),
    ),
    ranks=(1, 2, 3, 4, 5),
    complete=_trailing,
    parameters=_layer_norm_parameters,
    buffers=lambda args: {},
    facts=_trailing_facts,
    misfit=trailing_axes,
)

_RMS_NORM = Op(
    name="RMSNorm",
    family="rms_norm",
    reference="references.rms_norm:RMSNorm",
    arguments=(
        _NORMALIZED_SHAPE,
        Argument("eps", ("float", "int", "null"), None, "null: the epsilon of the compute dtype"),
        Argument("elementwise_affine", ("bool",), True),
    ),
    ranks=(1, 2, 3, 4, 5),
    complete=_trailing,
    parameters=lambda args: {"weight": tuple(args["normalized_shape"])} if args["elementwise_affine"] else {},
    buffers=lambda args: {},
    facts=_trailing_facts,
    misfit=trailing_axes,
    variants={"without_eps": "references.onnx_variants:RMSNormWithoutEps"},
)


# ---- GroupNorm and LocalResponseNorm -------------------------------------------------------------------------------


def _group_norm_complete(args: Args, shape: Shape) -> dict[str, Any]:
    """``num_channels: null`` takes the shape's second axis; ``num_groups: channels`` means one group per channel."""
    channels = args["num_channels"] if args["num_channels"] is not None else (shape[1] if len(shape) > 1 else 1)
    groups = channels if args["num_groups"] == "channels" else args["num_groups"]
    return {**args, "num_channels": channels, "num_groups": groups}


def _group_norm_facts(args: Args, shape: Shape) -> dict[str, int]:
    groups, channels = int(args["num_groups"]), int(args["num_channels"])
    normalised = channels * prod(shape[2:]) // groups if groups else 0
    return _facts(shape, channels, normalised) | {"groups": groups, "values_per_group": normalised}


_GROUP_NORM = Op(
    name="GroupNorm",
    family="group_norm",
    reference="references.group_norm:GroupNorm",
    arguments=(
        Argument("num_groups", ("int", "channels"), 1, "divides num_channels"),
        Argument("num_channels", ("int", "null"), None, "C; null takes the second axis of the shape"),
        _EPS,
        Argument("affine", ("bool",), True),
        _AFFINE_BIAS,
    ),
    ranks=(2, 3, 4, 5),
    complete=_group_norm_complete,
    parameters=lambda args: _affine(int(args["num_channels"]), args, "affine"),
    buffers=lambda args: {},
    facts=_group_norm_facts,
    misfit=all_of(size_of_axis("num_channels", 1), divided("num_groups", "num_channels")),
)

_LOCAL_RESPONSE_NORM = Op(
    name="LocalResponseNorm",
    family="local_response_norm",
    reference="references.local_response_norm:LocalResponseNorm",
    arguments=(
        Argument("size", ("int",), 2, "channels in the window"),
        Argument("alpha", ("float", "int"), 1e-4),
        Argument("beta", ("float", "int"), 0.75),
        Argument("k", ("float", "int"), 1.0),
    ),
    ranks=(3, 4, 5),
    complete=lambda args, shape: dict(args),
    parameters=lambda args: {},
    buffers=lambda args: {},
    facts=lambda args, shape: _facts(shape, shape[1] if len(shape) > 1 else 0, int(args["size"])),
    variants={"onnx": "references.onnx_variants:OnnxLRN"},
)

NORMALISATION: tuple[Op, ...] = (
    *(_batch_norm(spatial) for spatial in (1, 2, 3)),
    _LAYER_NORM,
    _RMS_NORM,
    *(_instance_norm(spatial) for spatial in (1, 2, 3)),
    _GROUP_NORM,
    _LOCAL_RESPONSE_NORM,
)
