"""Sums and statistics against exact values, and that each rounds in the order that it says."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.calibration.stable import RECIPES, compensated, lanes, pairwise, sequential, widened

EVERY = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
U = 2.0**-24
ROWS = st.integers(1, 600).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 3.0, 1e3]))
)


def drawn(n, seed, shift, dtype=np.float32):
    return (np.random.default_rng(seed).standard_normal((2, n)) + shift).astype(dtype)


def exact_moments(row):
    values = [Fraction(float(value)) for value in row]
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values) / len(values)


@EVERY
@settings(max_examples=15, deadline=None, derandomize=True)
@given(drawn_from=ROWS)
def test_a_sum_is_exact_to_n_roundings_of_the_absolute_sum(recipe, drawn_from):
    x = drawn(*drawn_from)
    total = recipe.total(x)
    assert total.shape == (2, 1)
    assert total.dtype == np.float32
    for row, got in zip(x, total[:, 0], strict=True):
        exact = sum(Fraction(float(value)) for value in row)
        assert abs(float(Fraction(float(got)) - exact)) <= x.shape[1] * U * np.abs(row).sum(dtype=np.float64)


@EVERY
@settings(max_examples=15, deadline=None, derandomize=True)
@given(drawn_from=ROWS)
def test_statistics_lose_kappa_and_not_its_square(recipe, drawn_from):
    """Chan, Golub and LeVeque 1983: a stable variance is exact to n u kappa, with kappa = rms / std."""
    x = drawn(*drawn_from)
    m, v = recipe.moments(x)
    assert m.dtype == v.dtype == np.float32
    n = x.shape[1]
    for row, mean, variance in zip(x, m[:, 0], v[:, 0], strict=True):
        exact_mean, exact_variance = exact_moments(row)
        size = float(np.abs(row).mean(dtype=np.float64))
        assert abs(float(Fraction(float(mean)) - exact_mean)) <= (n + 2) * U * size
        spread = float(exact_variance) ** 0.5
        limit = 4 * (n + 4) * U * spread * (size + spread) + ((n + 2) * U * size) ** 2
        assert abs(float(Fraction(float(variance)) - exact_variance)) <= limit


@EVERY
def test_float64_stays_float64(recipe):
    x = drawn(37, 1, 3.0, np.float64)
    assert recipe.total(x).dtype == np.float64
    assert {part.dtype for part in recipe.moments(x)} == {np.dtype(np.float64)}


@EVERY
def test_one_value_has_itself_for_mean_and_no_variance(recipe):
    m, v = recipe.moments(np.array([[5.0], [-3.0]], np.float32))
    assert m.tolist() == [[5.0], [-3.0]]
    assert v.tolist() == [[0.0], [0.0]]


def test_sequential_rounds_like_a_loop():
    x = drawn(1000, 2, 0.5)
    total = np.float32(0)
    for value in x[0]:
        total = np.float32(total + value)
    assert sequential(x)[0, 0] == total


def test_lanes_round_like_interleaved_loops():
    x = drawn(37, 3, 0.5)
    partial = np.zeros(8, np.float32)
    for start in range(0, 37, 8):
        part = x[0, start : start + 8]
        partial[: part.size] += part
    total = np.float32(0)
    for value in partial:
        total = np.float32(total + value)
    assert lanes(x, 8)[0, 0] == total


def test_constants_tell_the_ways_to_sum_apart():
    """Adding 0.1 a hundred thousand times drifts in one accumulator, hardly in a tree, not at all in a wider format."""
    x = np.full((1, 100_000), 0.1, np.float32)
    exact = float(np.float32(0.1)) * x.shape[1]
    drift = {
        total.__name__: abs(float(total(x)[0, 0]) - exact) / exact for total in (sequential, pairwise, compensated)
    }
    assert drift["sequential"] > 1e-4
    assert drift["pairwise"] < 1e-6
    assert drift["compensated"] < 1e-7
    assert widened(x)[0, 0] == np.float32(exact)
