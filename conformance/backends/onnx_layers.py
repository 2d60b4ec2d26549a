"""The operators of ONNX that networks are made of beside normalisation, as the references that they are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from conformance.backends.onnx_meaning import Attributes, Meaning, Reader, at_least
from conformance.observation import Array, Unsupported

_IMAGE = 4  # axes of a batch of images


def _matmul(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - alike for all readers
    weight = at_least(inputs, 2)[1]
    if weight.ndim != 2:
        raise Unsupported(f"no reference for MatMul with a second factor of {weight.ndim} axes, only of two")
    return _linear(weight.T, None)


def _gemm(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - as above
    _, weight, *rest = at_least(inputs, 2)
    scaled = {name: float(a.get(name, 1.0)) for name in ("alpha", "beta")}
    if a.get("transA", 0) or scaled["alpha"] != 1 or (rest and scaled["beta"] != 1):
        raise Unsupported("no reference for Gemm that scales or transposes its first factor")
    return _linear(weight if a.get("transB", 0) else weight.T, rest[0] if rest else None)


def _linear(weight: Array, bias: Array | None) -> Meaning:
    """weight: (out_features, in_features)."""
    args = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias is not None}
    params = {"weight": weight}
    if bias is not None:
        if prod(bias.shape[:-1]) > 1:
            raise Unsupported("no reference for Gemm with a bias for each row")
        params["bias"] = np.broadcast_to(bias.reshape(bias.shape[-1:]), weight.shape[:1])
    return Meaning("references.linear:Linear", args, params)


def _conv(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - as above
    x, weight, *rest = at_least(inputs, 2)
    _image("Conv", x)
    groups = int(a.get("group", 1))
    args = _windows(a, weight.shape[2:], x.shape[2:]) | {
        "in_channels": x.shape[1],
        "out_channels": weight.shape[0],
        "groups": groups,
        "bias": bool(rest),
        "padding_mode": "zeros",
    }
    return Meaning("references.convolution:Conv2d", args, {"weight": weight} | ({"bias": rest[0]} if rest else {}))


def _max_pool(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - as above
    (x,) = at_least(inputs, 1)[:1]
    _image("MaxPool", x)
    args = _windows(a, a["kernel_shape"], x.shape[2:]) | {"ceil_mode": bool(a.get("ceil_mode", 0))}
    return Meaning("references.pooling:MaxPool2d", args, outputs=("output", ""))


def _average_pool(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - as above
    (x,) = at_least(inputs, 1)[:1]
    _image("AveragePool", x)
    args = _windows(a, a["kernel_shape"], x.shape[2:]) | {
        "ceil_mode": bool(a.get("ceil_mode", 0)),
        "count_include_pad": bool(a.get("count_include_pad", 0)),
        "divisor_override": None,
    }
    return Meaning("references.pooling:AvgPool2d", args)


def _image(operator: str, x: Array) -> None:
    if x.ndim != _IMAGE:
        raise Unsupported(f"no reference for {operator} on {x.ndim} axes, only on four")


def _windows(a: Attributes, kernel: Any, image: tuple[int, ...]) -> dict[str, Any]:
    """Attributes that Conv and the pools share; image: the lengths of its two axes.

    ``pads`` are rows above, columns left, rows below, columns right.
    """
    strides, dilations = list(a.get("strides", (1, 1))), list(a.get("dilations", (1, 1)))
    auto = a.get("auto_pad", b"NOTSET").decode()
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        steps = zip(image, kernel, strides, dilations, strict=True)
        padding = [_same(*step, at_end=auto == "SAME_UPPER") for step in steps]
    else:
        top, left, bottom, right = a.get("pads", (0, 0, 0, 0)) if auto == "NOTSET" else (0, 0, 0, 0)
        padding = [[top, bottom], [left, right]]
    return {"kernel_size": list(kernel), "stride": strides, "dilation": dilations, "padding": padding}


def _same(length: int, kernel: int, stride: int, dilation: int, *, at_end: bool) -> list[int]:
    """The padding with which there are ceil(length / stride) windows; the odd element goes to one end."""
    total = max((-(-length // stride) - 1) * stride + dilation * (kernel - 1) + 1 - length, 0)
    half = [total // 2, total - total // 2]
    return half if at_end else half[::-1]


def _elementwise(name: str) -> Reader:
    return lambda a, inputs, opset: Meaning(f"references.activations:{name}", {})  # noqa: ARG005 - as above


def _flatten(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - as above
    (x,) = at_least(inputs, 1)[:1]
    axis = int(a.get("axis", 1))
    axis += x.ndim if axis < 0 else 0
    return _reshaped((prod(x.shape[:axis]), prod(x.shape[axis:])))


def _reshape(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - as above
    x, wanted = at_least(inputs, 2)[:2]
    keeps = not a.get("allowzero", 0)
    sizes = [x.shape[axis] if size == 0 and keeps else int(size) for axis, size in enumerate(wanted.tolist())]
    if -1 in sizes:
        known = prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = x.size // known if known else 0
    return _reshaped(tuple(sizes))


def _identity(a: Attributes, inputs: list[Array | None], opset: int) -> Meaning:  # noqa: ARG001 - as above
    return _reshaped(at_least(inputs, 1)[0].shape)


def _reshaped(shape: tuple[int, ...]) -> Meaning:
    return Meaning("references.flatten:Reshape", {"shape": list(shape)})


LAYER_READERS: Mapping[str, Reader] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Relu": _elementwise("ReLU"),
    "Sigmoid": _elementwise("Sigmoid"),
    "Tanh": _elementwise("Tanh"),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Identity": _identity,
}
