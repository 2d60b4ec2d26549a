"""The two rivals, on figures worked out by hand."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch

from conformance.calibration.rivals import ASSERT_CLOSE, assert_close_passes, ulps_pass
from references.expected import Quantity
from references.rounding import STORAGE


def quantity(value, stored="float32", undetermined=None):
    value = np.array(value, np.float64)
    return Quantity(value, np.full(value.shape, 1e-6), stored, undetermined)


@pytest.mark.parametrize("dtype", ASSERT_CLOSE)
def test_the_tolerances_are_those_of_torch(dtype):
    """Just inside passes and just outside fails, here as there."""
    rtol, atol = ASSERT_CLOSE[dtype]
    kind = getattr(torch, dtype)
    for factor in (0.5, 1.9):
        got = torch.tensor([2.0 + factor * (atol + 2.0 * rtol)], dtype=kind)
        try:
            torch.testing.assert_close(got, torch.tensor([2.0], dtype=kind))
            there = True
        except AssertionError:
            there = False
        assert assert_close_passes(quantity([2.0], dtype), got.double().numpy().astype(STORAGE[dtype])) is there


def test_ulps_count_the_numbers_between():
    one = np.float32(1)
    near = np.array([np.nextafter(one, np.float32(2))], np.float32)
    assert ulps_pass(quantity([1.0]), near, 1)
    assert not ulps_pass(quantity([1.0]), near, 0)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_ulps_go_through_zero(dtype):
    tiny = float(ml_dtypes.finfo(STORAGE[dtype]).smallest_subnormal)
    got = np.array([-tiny]).astype(STORAGE[dtype])
    assert ulps_pass(quantity([tiny], dtype), got, 2)
    assert not ulps_pass(quantity([1.0], dtype), np.array([-1.0]).astype(STORAGE[dtype]))


def test_nan_fails_both_and_undetermined_elements_neither():
    got = np.array([np.nan, 1.0], np.float32)
    assert not assert_close_passes(quantity([1.0, 1.0]), got)
    assert not ulps_pass(quantity([1.0, 1.0]), got)
    unknown = quantity([1.0, 1.0], undetermined=np.array([True, False]))
    assert assert_close_passes(unknown, got)
    assert ulps_pass(unknown, got)


def test_equal_infinities_are_close():
    """A reference beyond float16 is rounded to infinity first."""
    assert assert_close_passes(quantity([1e9], "float16"), np.array([np.inf], np.float16))
