"""Backward operators that the ONNX exporter has no function for, by operators that it has.

The gradients of a convolution are convolutions themselves (Dumoulin and Visin 2016, chapter 4): that of the input is a
transposed one, that of the weight one of the input with the upstream gradient, with stride and dilation in each other's
place.  The gradient of an average pool is a transposed convolution with a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

_aten = torch.ops.aten
_FORWARD, _TRANSPOSED = False, True  # ATen takes arguments by place


def convolution_backward(
    grad_output: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,  # noqa: FBT001 - the signature of ATen
    output_padding: Sequence[int],  # noqa: ARG001 - of a transposed convolution, which is not taken
    groups: int,
    output_mask: Sequence[bool],
) -> Any:
    """aten::convolution_backward in two dimensions: gradients of x, weight and bias, None where none is asked for.

    x: (N, C, H, W); weight: (O, C / groups, kH, kW); grad_output: (N, O, H', W').
    """
    if transposed or x.dim() != 4:
        return NotImplemented
    stride, padding, dilation = map(_pair, (stride, padding, dilation))
    grad_x = grad_weight = grad_bias = None
    if output_mask[0]:
        reach = [d * (k - 1) for k, d in zip(weight.shape[2:], dilation, strict=True)]
        lost = [
            size - ((out - 1) * s - 2 * p + r + 1)
            for size, out, s, p, r in zip(x.shape[2:], grad_output.shape[2:], stride, padding, reach, strict=True)
        ]
        grad_x = _spread(grad_output, weight, stride, padding, dilation, lost, groups, x.shape[2:])
    if output_mask[1] and not x.shape[0]:
        grad_weight = torch.zeros_like(weight)
    elif output_mask[1]:
        parts = zip(x.chunk(groups, 1), grad_output.chunk(groups, 1), strict=True)
        grad_weight = torch.cat([_of_weight(a, g, weight.shape, stride, padding, dilation) for a, g in parts], 0)
    if output_mask[2] and bias_sizes is not None:
        grad_bias = grad_output.sum((0, 2, 3))
    return grad_x, grad_weight, grad_bias


def _spread(
    image: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    lost: Sequence[int],
    groups: int,
    sizes: Sequence[int],
) -> torch.Tensor:
    """The transposed convolution whose result has these sizes in space.

    lost: rows and columns that the stride left over, for ATen to add at the end.  Of open sizes the exporter takes no
    such list, so that there as many zeros as can ever be lost are added, and what is needed is cut out.
    """
    none: Any = None
    sides, steps = list(padding), list(stride)
    if not any(isinstance(each, torch.SymInt) for each in lost):
        exact: torch.Tensor = _aten.convolution(
            image, weight, none, steps, sides, list(dilation), _TRANSPOSED, list(lost), groups
        )
        return exact
    whole = _aten.convolution(image, weight, none, steps, [0, 0], list(dilation), _TRANSPOSED, [0, 0], groups)
    found: torch.Tensor = _aten.constant_pad_nd(whole, [0, steps[1] - 1, 0, steps[0] - 1])
    for axis, (side, size) in enumerate(zip(sides, sizes, strict=True), start=2):
        found = _aten.slice.Tensor(found, axis, side, side + size)
    return found


def _of_weight(
    x: torch.Tensor,
    grad_output: torch.Tensor,
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> torch.Tensor:
    """Gradient of the weight of one group: sums over the batch take the place of those over channels."""
    none: Any = None
    whole: torch.Tensor = _aten.convolution(
        x.transpose(0, 1),
        grad_output.transpose(0, 1),
        none,
        list(dilation),
        list(padding),
        list(stride),
        _FORWARD,
        [0, 0],
        1,
    )
    return whole[:, :, : shape[2], : shape[3]].transpose(0, 1)  # the stride may have left rows and columns over


def avg_pool2d_backward(
    grad_output: torch.Tensor,
    x: torch.Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,  # noqa: FBT001 - the signature of ATen
    count_include_pad: bool,  # noqa: FBT001 - as above
    divisor_override: int | None,
) -> torch.Tensor:
    """aten::avg_pool2d_backward, where every window has the same divisor.

    x: (N, C, H, W) or (C, H, W); grad_output: of the shape of the pool's output.
    """
    same = not ceil_mode and (count_include_pad or not any(padding) or divisor_override is not None)
    if not same:
        unknown: torch.Tensor = NotImplemented
        return unknown
    kernel, steps, sides = _pair(kernel_size), _pair(stride or kernel_size), _pair(padding)
    lost = [
        size - ((out - 1) * s - 2 * p + k)
        for size, out, s, p, k in zip(x.shape[-2:], grad_output.shape[-2:], steps, sides, kernel, strict=True)
    ]
    divisor = divisor_override or kernel[0] * kernel[1]
    image = grad_output.reshape(-1, 1, *grad_output.shape[-2:])
    ones = torch.ones(1, 1, *kernel, dtype=x.dtype, device=x.device)
    spread = _spread(image, ones, steps, sides, [1, 1], lost, 1, x.shape[-2:])
    found: torch.Tensor = (spread / divisor).reshape(x.shape)
    return found


def mul_scalar(x: torch.Tensor, other: float | torch.SymFloat) -> torch.Tensor:
    """aten::mul.Scalar by a number that follows from open sizes, which the exporter takes for one of Python.

    torch writes the gradient of a group norm so, with one over the number of elements.
    """
    if not isinstance(other, torch.SymFloat):
        known: torch.Tensor = NotImplemented
        return known
    product: torch.Tensor = _aten.mul.Tensor(x, _aten.scalar_tensor(other, dtype=x.dtype))
    return product


def _pair(sizes: Sequence[int]) -> list[int]:
    """ATen takes one number for both axes."""
    return [*sizes, *sizes] if len(sizes) == 1 else list(sizes)


#: for make_fx, which takes an operator apart where its function does not return NotImplemented
BACKWARD: dict[Any, Callable[..., Any]] = {
    _aten.convolution_backward.default: convolution_backward,
    _aten.avg_pool2d_backward.default: avg_pool2d_backward,
}

#: where sizes are open
OPEN: dict[Any, Callable[..., Any]] = {_aten.mul.Scalar: mul_scalar}
