"""What the shape of an input has against the arguments of an op, in words; empty where they fit.

Torch raises for each of these.  A case that has one says what it raises, and everything that computes with the
arguments of other cases may rely on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.ops.entry import Args, Shape

Misfit = Callable[[Args, Shape], str]


def pair(value: Any) -> tuple[int, int]:
    """One number for both axes of an image, or one for each."""
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


def size_of_axis(name: str, axis: int) -> Misfit:
    """The argument is the size of this axis of the input."""

    def misfit(args: Args, shape: Shape) -> str:
        if args[name] == shape[axis]:
            return ""
        place = "the last axis" if axis == -1 else f"axis {axis % len(shape)}"
        return f"{name} is {args[name]}, and {place} of the shape has {shape[axis]}"

    return misfit


def all_of(*misfits: Misfit) -> Misfit:
    """The first misfit, if there is any."""

    def first(args: Args, shape: Shape) -> str:
        return next(filter(None, (misfit(args, shape) for misfit in misfits)), "")

    return first


def where_it_matters(misfit: Misfit, *switches: str) -> Misfit:
    """The misfit, where one of these arguments is on; otherwise torch takes no notice of the size."""

    def some(args: Args, shape: Shape) -> str:
        return misfit(args, shape) if any(args[name] for name in switches) else ""

    return some


def trailing_axes(args: Args, shape: Shape) -> str:
    """``normalized_shape`` holds the sizes of the last axes, one at least."""
    sizes = list(args["normalized_shape"])
    if sizes and list(shape[-len(sizes) :]) == sizes:
        return ""
    return f"normalized_shape is {sizes}, and the last axes of the shape are {list(shape[-max(1, len(sizes)) :])}"


def divided(name: str, *channels: str) -> Misfit:
    """The argument divides each of these."""

    def misfit(args: Args, shape: Shape) -> str:  # noqa: ARG001 - one signature for all misfits
        parts = args[name]
        if parts < 1:
            return f"{name} is {parts}; there is 1 at least"
        odd = [f"{each}, {args[each]}" for each in channels if args[each] % parts]
        return f"{name} is {parts}, which does not divide {odd[0]}" if odd else ""

    return misfit


def windows(args: Args, shape: Shape) -> str:  # noqa: ARG001 - one signature for all misfits
    """Kernels, strides and dilations are 1 at least, and padding is not negative."""
    for name in ("kernel_size", "stride", "dilation"):
        if args.get(name) is not None and min(pair(args[name])) < 1:
            return f"{name} is {args[name]}; it is 1 at least"
    padding = args["padding"]
    return (
        f"padding is {padding}; it is 0 at least" if padding not in ("same", "valid") and min(pair(padding)) < 0 else ""
    )


def half_padding(args: Args, shape: Shape) -> str:  # noqa: ARG001 - one signature for all misfits
    """Pooling pads by half of the kernel at most."""
    kernel, padding = pair(args["kernel_size"]), pair(args["padding"])
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return f"padding is {args['padding']}, more than half of the kernel_size, {args['kernel_size']}"
    return ""


def room(output_shape: Callable[[Args, Shape], Shape]) -> Misfit:
    """One window at least fits into the image."""

    def misfit(args: Args, shape: Shape) -> str:
        if min(output_shape(args, shape)[-2:]) > 0:
            return ""
        return f"kernel_size is {args['kernel_size']}, too large for an image of {list(shape[-2:])}"

    return misfit


def flattened_axes(args: Args, shape: Shape) -> str:
    """``start_dim`` and ``end_dim`` are axes, in this order."""
    rank = len(shape)
    for name in ("start_dim", "end_dim"):
        if not -rank <= args[name] < rank:
            return f"{name} is {args[name]}, and the shape has {rank} axes"
    if args["start_dim"] % rank > args["end_dim"] % rank:
        return f"start_dim is {args['start_dim']}, behind end_dim, {args['end_dim']}"
    return ""


def probability(name: str) -> Misfit:
    """The argument is from 0 to 1."""

    def misfit(args: Args, shape: Shape) -> str:  # noqa: ARG001 - one signature for all misfits
        return "" if 0 <= args[name] <= 1 else f"{name} is {args[name]}; a probability is from 0 to 1"

    return misfit
