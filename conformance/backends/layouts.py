"""How a tensor lies in memory: putting the same values into another layout, and naming the layout of a result."""

from __future__ import annotations

import torch

from conformance.suite.case import Layout

FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
    "channels_last_3d": torch.channels_last_3d,
}
_RANKS = {"channels_last": 4, "channels_last_3d": 5}


def misfit(layout: Layout, rank: int) -> str | None:
    """None, or why a tensor of this rank cannot have the layout."""
    wanted = _RANKS.get(layout)
    return None if wanted in (None, rank) else f"{layout} needs {wanted} axes, the input has {rank}"


def arrange(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    """The same values in logical order, laid out in memory as asked; the tensor itself where it lies so.

    ``transposed`` keeps the axes but reverses their order in memory.  ``strided`` takes every other element of a larger
    buffer from an odd offset on; what lies between is NaN (for integers the smallest one), so that a kernel that
    ignores the strides computes something else.
    """
    if layout == "transposed":
        backwards = tuple(reversed(range(tensor.dim())))
        return tensor.permute(backwards).clone(memory_format=torch.contiguous_format).permute(backwards)
    if layout == "strided":
        sentinel = float("nan") if tensor.is_floating_point() else torch.iinfo(tensor.dtype).min
        *outer, last = tensor.shape
        buffer = torch.full((*outer, 2 * last + 1), sentinel, dtype=tensor.dtype, device=tensor.device)
        view = buffer[..., 1::2]
        return view.copy_(tensor)
    return tensor.contiguous(memory_format=FORMATS[layout])


def memory_format(tensor: torch.Tensor, own: Layout) -> str:
    """The name of the tensor's memory format, or ``other``.

    Where several names hold (one channel, one pixel, nothing at all), the input's own layout wins, so that "the output
    keeps the format of the input" stays true of shapes for which the formats coincide.
    """
    candidates = [own, *FORMATS] if own in FORMATS else [*FORMATS]
    for name in candidates:
        fits = misfit(name, tensor.dim()) is None  # type: ignore[arg-type]  # a name of ours, from FORMATS
        if fits and tensor.is_contiguous(memory_format=FORMATS[name]):
            return name
    return "other"
