"""Arrays to tensors and back."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch

from conformance.backends.tensors import dtype_name, dtype_of, memory, shape_name, to_array, to_tensor

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
EVERY_HALF = np.arange(2**16, dtype=np.uint32).astype(np.uint16)


@pytest.mark.parametrize("dtype", [BFLOAT16, np.dtype(np.float16)], ids=str)
def test_every_bit_pattern_of_a_16_bit_format_comes_back_unchanged(dtype):
    array = EVERY_HALF.view(dtype).reshape(256, 256)
    tensor = to_tensor(array)
    returned = to_array(tensor)
    assert tensor.dtype == dtype_of(dtype.name)
    assert returned.dtype == dtype
    assert returned.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_wide_formats_come_back_unchanged(dtype):
    array = np.frombuffer(np.random.default_rng(3).bytes(8 * 24), dtype).reshape(2, 3, -1)
    assert to_array(to_tensor(array)).tobytes() == array.tobytes()


def test_a_scalar_stays_a_scalar():
    assert to_tensor(np.array(7, np.int64)).shape == ()
    assert to_array(torch.tensor(7)).shape == ()


def test_arrays_come_out_in_logical_order_whatever_the_memory_holds():
    tensor = torch.arange(6.0).reshape(2, 3).t()
    assert to_array(tensor).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert to_array(tensor).flags.c_contiguous


def test_neither_direction_shares_memory():
    array = np.zeros(3, np.float32)
    tensor = to_tensor(array)
    copied = to_array(tensor)
    tensor += 1
    assert array.tolist() == copied.tolist() == [0, 0, 0]


def test_memory_holds_what_a_strided_view_skips():
    buffer = torch.zeros(8)
    view = buffer[1::2]
    before = memory(view)
    buffer[0] = 1
    assert not torch.equal(before, memory(view))


def test_names_are_those_of_numpy():
    assert dtype_name(torch.bfloat16) == "bfloat16"
    assert shape_name((4, 3, 5)) == "4x3x5"
    with pytest.raises(TypeError, match="not a dtype"):
        dtype_of("nn")
