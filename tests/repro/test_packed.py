"""What is packed comes out as it went in."""

from __future__ import annotations

import base64
import zlib

import ml_dtypes
import numpy as np
import pytest

from conformance.repro.packed import packed, together


def made(lines):
    known = {"np": np, "base64": base64, "zlib": zlib}
    exec("\n".join(lines), known)
    return known


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_value_comes_back_in_its_shape(dtype):
    stored = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    array = np.array([[1 / 3, -0.0, np.inf], [np.nan, 2.0**-14, 1e4]]).astype(stored)
    got = made(packed("x", array, dtype))["x"]
    assert got.shape == (2, 3)
    assert np.array_equal(got, array.astype(float), equal_nan=True)
    assert np.signbit(got[0, 1])


def test_nothing_and_integers_are_said_in_their_own_words():
    assert packed("x", np.zeros((0, 3)), "float32") == ["x = np.zeros((0, 3,))"]
    assert made(packed("n", np.array([[3, 4]]), "int64"))["n"].tolist() == [[3, 4]]


def test_a_state_is_split_up_by_its_names():
    state = {"a.weight": np.arange(6.0).reshape(2, 3), "a.count": np.array(7), "b.bias": np.ones(2)}
    got = made(together(state, "float64"))["state"]
    assert list(got) == list(state)
    for name, array in state.items():
        assert got[name].shape == array.shape
        assert np.array_equal(got[name], array)
