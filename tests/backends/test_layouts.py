"""Laying tensors out in memory, and naming how they lie."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from conformance.backends.layouts import arrange, memory_format, misfit
from conformance.suite.case import Layout

RANK = {"channels_last": 4, "channels_last_3d": 5}
LAYOUTS = get_args(Layout)


def _numbered(rank: int) -> torch.Tensor:
    shape = (2, 3, 4, 5, 6)[:rank]
    return torch.arange(float(math.prod(shape))).reshape(shape)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_values_of_the_contiguous_tensor(layout):
    x = _numbered(RANK.get(layout, 3))
    laid = arrange(x, layout)
    assert torch.equal(laid, x)
    assert (laid.data_ptr() == x.data_ptr()) == (layout == "contiguous")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tensor_without_elements_can_have_every_layout(layout):
    x = torch.zeros((0, 3, 4, 5, 6)[: RANK.get(layout, 3)])
    assert arrange(x, layout).shape == x.shape


def test_transposed_reverses_the_order_in_memory():
    assert arrange(_numbered(3), "transposed").stride() == (1, 2, 6)


def test_strided_starts_at_an_odd_offset_and_skips_every_other_element():
    laid = arrange(_numbered(3), "strided")
    assert laid.storage_offset() % 2 == 1
    assert laid.stride(-1) == 2


@pytest.mark.parametrize(("dtype", "sentinel"), [(torch.float16, "nan"), (torch.int64, "-9223372036854775808")])
def test_a_reader_that_ignores_the_strides_meets_the_sentinel(dtype, sentinel):
    laid = arrange(_numbered(2).to(dtype), "strided")
    whole = torch.empty(0, dtype=dtype).set_(laid.untyped_storage())
    assert str(whole[0].item()) == sentinel
    assert str(whole[-1].item()) == sentinel


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "channels_last_3d"])
def test_a_tensor_has_the_format_that_it_was_arranged_in(layout):
    assert memory_format(arrange(_numbered(RANK.get(layout, 4)), layout), "contiguous") == layout


@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_a_layout_without_a_name_of_its_own_is_other(layout):
    assert memory_format(arrange(_numbered(4), layout), layout) == "other"


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (2, 3, 1, 1)])
def test_where_formats_coincide_the_inputs_own_wins(shape):
    x = torch.zeros(shape)
    assert memory_format(x, "contiguous") == "contiguous"
    assert memory_format(x, "channels_last") == "channels_last"


@pytest.mark.parametrize(("layout", "rank"), [("channels_last", 3), ("channels_last_3d", 4)])
def test_a_layout_that_does_not_fit_the_rank_says_what_it_needs(layout, rank):
    assert misfit(layout, rank) == f"{layout} needs {RANK[layout]} axes, the input has {rank}"
    assert misfit(layout, RANK[layout]) is None
