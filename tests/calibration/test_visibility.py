"""What is visible without a model."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.calibration.visibility import Yardstick
from references.expected import Expected, Quantity


@pytest.fixture
def yardstick(case_of):
    """Two rows whose stable errors are 1e-3 and 1e-5; parameters and buffers with 1e-4."""
    case = case_of("LayerNorm", (2, 3))
    names = {"output": (2, 3), "grad.bias": (3,), "buffer.x": (2,)}
    zero = {name: np.zeros(shape) for name, shape in names.items()}
    expected = Expected({name: Quantity(value, np.ones(value.shape), "float32") for name, value in zero.items()}, {})
    stable = {
        "output": np.array([[1e-3, 0, 0], [0, 1e-5, 0]]),
        "grad.bias": np.array([1e-4, 0, 0]),
        "buffer.x": np.array([1e-4, 0]),
    }
    return Yardstick(case, [expected], [[stable]]), zero


@pytest.mark.parametrize(
    ("name", "where", "error", "visible"),
    [
        ("output", (0, 2), 3.9e-3, False),
        ("output", (0, 2), 4.1e-3, True),
        ("output", (1, 2), 4.1e-5, True),
        ("grad.bias", (2,), 7.9e-4, False),
        ("grad.bias", (2,), 8.1e-4, True),
        ("buffer.x", (0,), 3.9e-4, False),
        ("buffer.x", (1,), 1e-6, True),
        ("output", (0, 0), np.nan, True),
    ],
)
def test_four_times_the_worst_of_the_slice_eight_times_that_of_a_parameter(yardstick, name, where, error, visible):
    measure, zero = yardstick
    got = {key: value.astype(np.float32) for key, value in zero.items()}
    got[name][where] = error
    assert measure.visible([got]) is visible


def test_rounding_on_store_is_not_visible(case_of):
    case = case_of("LayerNorm", (1, 2), "bfloat16")
    expected = Expected({"output": Quantity(np.array([[1.001, 2.0]]), np.ones((1, 2)), "bfloat16")}, {})
    exact = [[{"output": np.array([[1.001, 2.0]])}]]
    assert not Yardstick(case, [expected], exact).visible([{"output": np.array([[1.0, 2.0]])}])
    assert Yardstick(case, [expected], exact).visible([{"output": np.array([[1.02, 2.0]])}])


def test_nan_is_visible_where_all_others_have_a_number_even_undetermined(case_of):
    case = case_of("LayerNorm", (1, 2))
    unknown = Quantity(np.zeros((1, 2)), np.full((1, 2), np.inf), "float32", np.ones((1, 2), bool))
    got = [{"output": np.array([[np.nan, 7.0]], np.float32)}]
    assert Yardstick(case, [Expected({"output": unknown}, {})], [[{"output": np.array([[1.0, 1.0]])}]]).visible(got)
    assert not Yardstick(case, [Expected({"output": unknown}, {})], [[{"output": np.array([[np.nan, 1.0]])}]]).visible(
        got
    )
