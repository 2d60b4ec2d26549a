"""The layers that normalisation lives among: linear, convolutional, activations, pooling, dropout, flattening."""

from __future__ import annotations

from math import prod
from typing import Any

from conformance.ops.entry import Args, Argument, Op, Shape
from conformance.ops.misfits import (
    all_of,
    divided,
    flattened_axes,
    half_padding,
    pair,
    probability,
    room,
    size_of_axis,
    windows,
)

_ANY_RANK = (1, 2, 3, 4, 5)
_IMAGES = (3, 4)
_SIZES = ("int", "ints")


def _facts(shape: Shape, channels: int) -> dict[str, int]:
    return {"rank": len(shape), "batch": shape[0] if shape else 0, "channels": channels, "elements": prod(shape)}


def _as_given(args: Args, shape: Shape) -> dict[str, Any]:  # noqa: ARG001 - nothing follows from the shape
    return dict(args)


def _nothing(args: Args) -> dict[str, Shape]:  # noqa: ARG001 - no parameters, no buffers
    return {}


# ---- Linear ---------------------------------------------------------------------------------------------------------


def _linear_complete(args: Args, shape: Shape) -> dict[str, Any]:
    """``in_features: null`` takes the last axis of the shape, ``out_features: null`` as many as go in."""
    inside = args["in_features"] if args["in_features"] is not None else (shape[-1] if shape else 1)
    outside = args["out_features"] if args["out_features"] is not None else inside
    return {**args, "in_features": inside, "out_features": outside}


def _linear_parameters(args: Args) -> dict[str, Shape]:
    outside = int(args["out_features"])
    return {"weight": (outside, int(args["in_features"]))} | ({"bias": (outside,)} if args["bias"] else {})


_LINEAR = Op(
    name="Linear",
    family="linear",
    reference="references.linear:Linear",
    arguments=(
        Argument("in_features", ("int", "null"), None, "null takes the last axis of the shape"),
        Argument("out_features", ("int", "null"), None, "null takes as many as go in"),
        Argument("bias", ("bool",), True),
    ),
    ranks=_ANY_RANK,
    complete=_linear_complete,
    parameters=_linear_parameters,
    buffers=_nothing,
    facts=lambda args, shape: _facts(shape, int(args["in_features"])) | {"rows": prod(shape[:-1])},
    misfit=size_of_axis("in_features", -1),
    output_shape=lambda args, shape: (*shape[:-1], int(args["out_features"])),
)


# ---- Conv2d ---------------------------------------------------------------------------------------------------------


def _channels(shape: Shape) -> int:
    """C of (N, C, H, W) and of (C, H, W)."""
    return shape[-3] if len(shape) > 2 else 1


def _conv_complete(args: Args, shape: Shape) -> dict[str, Any]:
    """``in_channels: null`` takes the channel axis of the shape, ``out_channels: null`` as many as go in."""
    inside = args["in_channels"] if args["in_channels"] is not None else _channels(shape)
    outside = args["out_channels"] if args["out_channels"] is not None else inside
    return {**args, "in_channels": inside, "out_channels": outside}


def _conv_parameters(args: Args) -> dict[str, Shape]:
    outside, groups = int(args["out_channels"]), int(args["groups"])
    weight: Shape = (outside, int(args["in_channels"]) // groups, *pair(args["kernel_size"]))
    return {"weight": weight} | ({"bias": (outside,)} if args["bias"] else {})


def _conv_shape(args: Args, shape: Shape) -> Shape:
    kernel, stride, dilation = (pair(args[name]) for name in ("kernel_size", "stride", "dilation"))
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if args["padding"] == "same":
        added = reach
    else:
        added = [0, 0] if args["padding"] == "valid" else [2 * p for p in pair(args["padding"])]
    sizes = [max((shape[axis - 2] + added[axis] - reach[axis] - 1) // stride[axis] + 1, 0) for axis in (0, 1)]
    return (*shape[:-3], int(args["out_channels"]), *sizes)


_CONV2D = Op(
    name="Conv2d",
    family="convolution",
    reference="references.convolution:Conv2d",
    arguments=(
        Argument("in_channels", ("int", "null"), None, "null takes the channel axis of the shape"),
        Argument("out_channels", ("int", "null"), None, "null takes as many as go in"),
        Argument("kernel_size", _SIZES, 3, "height and width, or one number for both"),
        Argument("stride", _SIZES, 1),
        Argument("padding", (*_SIZES, "same", "valid"), 0, "on both sides of each axis"),
        Argument("dilation", _SIZES, 1),
        Argument("groups", ("int",), 1, "divides in_channels and out_channels"),
        Argument("bias", ("bool",), True),
        Argument("padding_mode", ("zeros", "reflect", "replicate", "circular"), "zeros"),
    ),
    ranks=_IMAGES,
    complete=_conv_complete,
    parameters=_conv_parameters,
    buffers=_nothing,
    facts=lambda args, shape: (
        _facts(shape, int(args["in_channels"])) | {"groups": int(args["groups"]), "unbatched": int(len(shape) == 3)}
    ),
    misfit=all_of(
        windows, size_of_axis("in_channels", -3), divided("groups", "in_channels", "out_channels"), room(_conv_shape)
    ),
    output_shape=_conv_shape,
)


# ---- pooling --------------------------------------------------------------------------------------------------------


def _pool_shape(args: Args, shape: Shape) -> Shape:
    kernel, padding, dilation = (pair(args.get(name, 1)) for name in ("kernel_size", "padding", "dilation"))
    stride = kernel if args["stride"] is None else pair(args["stride"])
    sizes = []
    for axis in (0, 1):
        length = shape[axis - 2] + padding[axis]
        free = length + padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1
        count = free // stride[axis] + 1
        if args["ceil_mode"]:
            count = -(-free // stride[axis]) + 1
            count -= (count - 1) * stride[axis] >= length  # no window starts beyond the image
        sizes.append(max(count, 0))
    return (*shape[:-2], *sizes)


def _pool_facts(args: Args, shape: Shape) -> dict[str, int]:
    return _facts(shape, _channels(shape)) | {
        "window": prod(pair(args["kernel_size"])),
        "unbatched": int(len(shape) == 3),
    }


_KERNEL = Argument("kernel_size", _SIZES, 2, "height and width, or one number for both")
_STRIDE = Argument("stride", (*_SIZES, "null"), None, "null takes the kernel_size")
_PADDING = Argument("padding", _SIZES, 0, "on both sides of each axis, at most half of the kernel")
_CEIL = Argument("ceil_mode", ("bool",), False, "whether the last window may hang over")


def _pool(name: str, *more: Argument) -> Op:
    return Op(
        name=name,
        family="max_pool" if name.startswith("Max") else "avg_pool",
        reference=f"references.pooling:{name}",
        arguments=(_KERNEL, _STRIDE, _PADDING, *more),
        ranks=_IMAGES,
        complete=_as_given,
        parameters=_nothing,
        buffers=_nothing,
        facts=_pool_facts,
        keeps_memory_format=("channels_last",),
        misfit=all_of(windows, half_padding, room(_pool_shape)),
        output_shape=_pool_shape,
    )


_MAX_POOL2D = _pool("MaxPool2d", Argument("dilation", _SIZES, 1), _CEIL)
_AVG_POOL2D = _pool(
    "AvgPool2d",
    _CEIL,
    Argument("count_include_pad", ("bool",), True, "whether padding counts in the divisor"),
    Argument("divisor_override", ("int", "null"), None, "divides in place of the size of the window"),
)


# ---- elementwise layers, and Flatten --------------------------------------------------------------------------------


def _elementwise(name: str, reference: str, *arguments: Argument, **more: Any) -> Op:
    return Op(
        name=name,
        reference=reference,
        arguments=arguments,
        complete=_as_given,
        parameters=_nothing,
        buffers=_nothing,
        facts=lambda args, shape: _facts(shape, shape[1] if len(shape) > 1 else 1),
        **more,
    )


def _activation(name: str, family: str) -> Op:
    return _elementwise(
        name,
        f"references.activations:{name}",
        family=family,
        ranks=_ANY_RANK,
        keeps_memory_format=("channels_last", "channels_last_3d"),
    )


def _flatten_shape(args: Args, shape: Shape) -> Shape:
    start, end = (int(args[name]) % len(shape) for name in ("start_dim", "end_dim"))
    return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


_FLATTEN = _elementwise(
    "Flatten",
    "references.flatten:Flatten",
    Argument("start_dim", ("int",), 1, "the first axis that is flattened"),
    Argument("end_dim", ("int",), -1, "the last axis that is flattened"),
    family="flatten",
    ranks=_ANY_RANK,
    misfit=flattened_axes,
    output_shape=_flatten_shape,
)


_P = Argument("p", ("float", "int"), 0.5, "probability that a unit is dropped in training")


def _dropout(name: str, ranks: tuple[int, ...]) -> Op:
    return _elementwise(
        name,
        f"references.dropout:{name}",
        _P,
        family="dropout" if name == "Dropout" else "channel_dropout",
        ranks=ranks,
        misfit=probability("p"),
        judged="law",
        keeps_memory_format=("channels_last", "channels_last_3d"),
    )


LAYERS: tuple[Op, ...] = (
    _LINEAR,
    _activation("ReLU", "relu"),
    _activation("Sigmoid", "sigmoid"),
    _activation("Tanh", "tanh"),
    _CONV2D,
    _MAX_POOL2D,
    _AVG_POOL2D,
    _FLATTEN,
    _dropout("Dropout", _ANY_RANK),
    _dropout("Dropout1d", (2, 3)),
    _dropout("Dropout2d", (3, 4)),
)
