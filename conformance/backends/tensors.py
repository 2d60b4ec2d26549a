"""Arrays to tensors and back, bit for bit, and the bytes of a tensor's memory."""

from __future__ import annotations

import numpy as np
import torch

from conformance.backends.arrays import BFLOAT16, Array, shape_name

__all__ = ["BFLOAT16", "Array", "dtype_name", "dtype_of", "memory", "shape_name", "to_array", "to_tensor"]


def to_tensor(array: Array, device: str = "cpu") -> torch.Tensor:
    """A contiguous tensor that shares no memory with the array; torch reads bfloat16 through its 16 bits."""
    copied = np.array(array, order="C", copy=True)
    if copied.dtype == BFLOAT16:
        return torch.from_numpy(copied.view(np.int16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(copied).to(device)


def to_array(tensor: torch.Tensor) -> Array:
    """A C-ordered array in logical axis order that shares no memory with the tensor."""
    copied = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    if copied.dtype == torch.bfloat16:
        bits: Array = copied.view(torch.int16).numpy()
        return bits.view(BFLOAT16)
    array: Array = copied.numpy()
    return array


def memory(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of all bytes of the storage under a tensor, those that a strided view skips included."""
    return storage(tensor).clone()


def storage(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of the storage under a tensor, not copied."""
    everything = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    return everything.set_(tensor.detach().untyped_storage())


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype of this name, such as ``bfloat16``."""
    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise TypeError(f"torch.{name} is not a dtype")
    return found


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
