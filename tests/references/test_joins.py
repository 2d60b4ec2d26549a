"""Sums and concatenations as nodes of a graph."""

from __future__ import annotations

import numpy as np
import pytest

from references.joins import Add, Concat
from references.rounding import precision

X, OTHER = np.array([[1.5, -4.0, 2.0]], np.float32), np.array([[-2.5, 1.0, 2.0], [1.0, 1.0, -9.0]], np.float32)


def step(kind, args, x, upstream, **params):
    layer = kind(args, "float32", "float32", precision("float32"))
    return layer.step(x, np.asarray(upstream, np.float32), params, {}, "eval").quantities


def test_a_sum_may_err_by_one_rounding_and_passes_its_gradient_on():
    found = step(Add, {}, OTHER, OTHER, other=X)
    p = precision("float32")
    np.testing.assert_array_equal(found["output"].value, OTHER.astype(float) + X)
    np.testing.assert_allclose(found["output"].scale, p.U * np.abs(OTHER.astype(float) + X) + p.t, rtol=1e-12)
    np.testing.assert_array_equal(found["grad_input"].value, OTHER)
    assert not found["grad_input"].scale.any()


def test_of_what_was_broadcast_no_gradient_is_told():
    assert list(step(Add, {}, X, OTHER, other=OTHER)) == ["output"]


@pytest.mark.parametrize("axis", [0, -2])
def test_parts_stand_side_by_side_in_their_order_and_have_their_own_gradient(axis):
    upstream = np.arange(15.0).reshape(5, 3)
    found = step(Concat, {"axis": axis}, X, upstream, one=OTHER, two=-OTHER)
    np.testing.assert_array_equal(found["output"].value, np.concatenate([X, OTHER, -OTHER]))
    np.testing.assert_array_equal(found["grad_input"].value, upstream[:1])
    assert not any(quantity.scale.any() for quantity in found.values())
