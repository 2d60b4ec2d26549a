"""Local response normalisation: the window, its edges, and what it spreads."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.judge import Expectation
from conformance.reference import build_reference


def expect(case, x):
    reference, inputs = build_reference(case), make_inputs(case)
    return reference.step(x, inputs.steps[0].grad_output, {}, {}, "train").quantities


def test_one_window_by_hand(case_of):
    """size 2: a channel and the one below it; the divisor is 2 even for the first channel, which has none below."""
    case = case_of("LocalResponseNorm", (1, 3, 1), "float64", size=2, alpha=1.0, beta=1.0, k=1.0)
    y = expect(case, np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1))["output"].value.ravel().astype(float)
    np.testing.assert_allclose(y, [1 / (1 + 1 / 2), 2 / (1 + (1 + 4) / 2), 3 / (1 + (4 + 9) / 2)], rtol=1e-15)


@pytest.mark.parametrize(
    ("size", "reached"), [(1, [3]), (2, [3, 4]), (3, [2, 3, 4]), (4, [2, 3, 4, 5]), (20, range(8))]
)
def test_a_nan_reaches_the_channels_whose_window_holds_it_and_no_other(case_of, size, reached):
    case = case_of("LocalResponseNorm", (1, 8, 2), "float32", size=size)
    x = make_inputs(case).steps[0].x.copy()
    x[0, 3, 0] = np.nan
    found = expect(case, x)
    expected = np.zeros((1, 8, 2), bool)
    expected[0, list(reached), 0] = True
    np.testing.assert_array_equal(np.isnan(found["output"].value), expected)
    assert np.isfinite(found["output"].scale).all()
    assert found["output"].undetermined is None


def test_windows_whose_squares_overflow_are_left_alone(case_of):
    case = case_of("LocalResponseNorm", (1, 8, 1), "float32", size=3)
    x = make_inputs(case).steps[0].x.copy()
    x[0, 3, 0] = 1e20
    found = expect(case, x)
    np.testing.assert_array_equal(np.flatnonzero(found["output"].undetermined), [2, 3, 4])
    np.testing.assert_array_equal(np.isinf(found["output"].scale), found["output"].undetermined)
    # the gradient reaches one window further
    np.testing.assert_array_equal(np.flatnonzero(found["grad_input"].undetermined), [1, 2, 3, 4, 5])


def test_the_allowance_grows_with_the_window_and_the_exponent(case_of):
    def scale(**arguments):
        case = case_of("LocalResponseNorm", (2, 8, 3), "float32", key="the same data", alpha=0.5, **arguments)
        quantity = expect(case, make_inputs(case).steps[0].x)["output"]
        return quantity.scale / np.abs(quantity.value)

    assert scale(size=7).mean() > scale(size=2).mean()
    assert scale(size=3, beta=2.0).mean() > scale(size=3, beta=0.5).mean()


@pytest.mark.parametrize("size", [2, 5])
def test_the_gradient_allows_for_the_sum_that_reaches_it(case_of, size):
    """The sum over the windows that hold x may be wrong by A(size) U of its terms' sizes, and each term by more."""
    case = case_of("LocalResponseNorm", (2, 8, 3), "float32", size=size, alpha=0.5, beta=0.75, k=1.0)
    x = make_inputs(case).steps[0].x
    gy = make_inputs(case).steps[0].grad_output
    found = expect(case, x)["grad_input"]
    X, Y = x.astype(np.float64), gy.astype(np.float64)
    base = np.ones_like(X)
    for c in range(8):
        window = slice(max(0, c - size // 2), c + (size - 1) // 2 + 1)
        base[:, c] += 0.5 * (X[:, window] ** 2).sum(axis=1) / size
    terms = np.abs(Y * X) * base**-1.75
    least = np.zeros_like(X)
    for c in range(8):
        holding = slice(max(0, c - (size - 1) // 2), c + size // 2 + 1)
        least[:, c] = 2 * 0.5 * 0.75 / size * np.abs(X[:, c]) * terms[:, holding].sum(axis=1)
    U = 2.0**-23
    assert (found.scale >= (size + 4) * U * least).all()
    # and for the direct term, gy a^-beta
    assert (found.scale >= 3 * U * np.abs(Y) * base**-0.75).all()
    # the two together are wrong by no more than a few times that
    assert (found.scale <= 30 * (size + 4) * U * (least + np.abs(Y) * base**-0.75) + 1e-30).all()


def test_an_infinite_element_leaves_its_neighbours_an_allowance_where_the_gradient_is_finite(case_of):
    case = case_of("LocalResponseNorm", (3, 7, 5), "float64", data="f10-inf", size=2, alpha=0.3, robustness=True)
    for step in Expectation(case, make_inputs(case)).steps():
        gradient = step.quantities["grad_input"]
        finite = np.isfinite(gradient.value)
        assert 0 < finite.sum() < finite.size
        assert (gradient.scale[finite] > 0).all()
