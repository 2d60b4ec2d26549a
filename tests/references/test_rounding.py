"""Formats, growth of sums, and precision classes."""

from __future__ import annotations

from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from references.rounding import FORMATS, LONGDOUBLE_IS_WIDER, STORAGE, precision

FLOATS = ["float64", "float32", "bfloat16", "float16"]


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_constants_are_those_of_the_format(dtype):
    info, stored = ml_dtypes.finfo(STORAGE[dtype]), FORMATS[dtype]
    assert stored.name == dtype == STORAGE[dtype].name
    assert stored.u == float(info.eps) / 2
    assert stored.eta == float(info.smallest_subnormal)
    assert stored.tiny == float(info.tiny)
    assert stored.max == float(info.max)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_unit_roundoff_is_half_the_gap_above_one(dtype):
    one = STORAGE[dtype].type(1)
    assert STORAGE[dtype].type(1 + 2 * FORMATS[dtype].u) > one
    assert STORAGE[dtype].type(1 + FORMATS[dtype].u) == one  # a tie, rounded to even


@settings(max_examples=200, deadline=None, derandomize=True)
@given(number=st.floats(-6e4, 6e4), dtype=st.sampled_from(FLOATS))
def test_one_rounding_on_store_stays_within_u_and_eta(number, dtype):
    stored = FORMATS[dtype]
    kept = float(STORAGE[dtype].type(np.float32(number) if dtype == "bfloat16" else number))
    twice = FORMATS["float32"].u if dtype == "bfloat16" else 0.0  # by way of float32
    assert abs(kept - number) <= (stored.u + 2 * twice) * abs(number) + stored.eta


@pytest.mark.parametrize(
    ("dtype", "n", "growth"),
    [
        ("float32", 1, 1.0),
        ("float32", 1024, 1024.0),
        ("float32", 4096, 2048.0),
        ("float32", 1_000_000, 32_000.0),
        ("bfloat16", 1_000_000, 32_000.0),
        ("float16", 7, 7.0),
        ("float64", 7, 7.0),
        ("float64", 1_000_000, 1e6),
    ],
)
def test_a_sum_grows_linearly_up_to_1024_terms_and_like_its_square_root_beyond(dtype, n, growth):
    assert precision(dtype).A(n) == growth


def test_growth_has_no_jump_and_never_falls():
    growth = [precision("float32").A(n) for n in range(1, 5000)]
    assert all(0 < b - a <= 1 for a, b in pairwise(growth))


@pytest.mark.parametrize("dtype", FLOATS)
def test_class_a_computes_float64_in_float64_and_everything_else_in_float32(dtype):
    p = precision(dtype)
    compute = FORMATS["float64" if dtype == "float64" else "float32"]
    assert (p.label, p.compute, p.t, p.stored, p.narrow) == ("A", compute, compute.tiny, FORMATS[dtype], False)
    assert p.K * compute.u == p.U


def test_the_reference_is_wider_than_what_it_judges_or_allows_for_its_own_error():
    for dtype in ("float32", "bfloat16", "float16"):
        assert (precision(dtype).reference, precision(dtype).K) == (np.dtype(np.float64), 2.0)
    judge = precision("float64")
    if LONGDOUBLE_IS_WIDER:
        assert (judge.reference, judge.K) == (np.dtype(np.longdouble), 2.0)
    else:
        assert (judge.reference, judge.K) == (np.dtype(np.float64), 3.0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_class_b_rounds_intermediates_to_the_storage_format(dtype):
    p = precision(dtype, "B")
    assert (p.U, p.narrow) == (2 * FORMATS[dtype].u, True)
    assert p.t == max(FORMATS[dtype].eta, FORMATS["float32"].tiny)
    assert p.U > precision(dtype).U


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_class_b_is_class_a_where_storage_is_no_narrower_than_compute(dtype):
    a, b = precision(dtype), precision(dtype, "B")
    assert (a.U, a.t, a.compute, a.narrow) == (b.U, b.t, b.compute, b.narrow)


def test_class_float32_lets_float64_be_computed_in_float32():
    p = precision("float64", "float32")
    assert (p.U, p.compute.name, p.stored.name) == (2.0**-23, "float32", "float64")


def test_sums_have_the_range_of_the_format_that_forms_them():
    """Class B keeps statistics in float16 but sums in float32; only class A of float64 sums in float64."""
    for dtype, label, reach in [
        ("float64", "A", "float64"),
        ("float32", "A", "float32"),
        ("float16", "A", "float32"),
        ("float16", "B", "float32"),
        ("bfloat16", "B", "float32"),
        ("float64", "float32", "float32"),
    ]:
        assert precision(dtype, label).reach == FORMATS[reach]
