"""One observed quantity against its expectation: figures worked out by hand, and properties."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.judge.allowance import allowance
from conformance.judge.compare import compare
from conformance.suite.case import Tolerance
from references.expected import Expected, Quantity
from references.rounding import FORMATS, STORAGE

FLOATS = ["float64", "float32", "bfloat16", "float16"]
CONTEXT = Expected({}, {}, n=7, kappa=2.5)
SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)


def judged(value, scale, got, stored="float32", *, dtype=None, tolerance=None, **given_):
    """The figure of ``got`` against a reference ``value`` in float64 with this error ``scale``."""
    value = np.array(value, np.float64)
    quantity = Quantity(value, np.broadcast_to(np.array(scale, np.float64), value.shape).copy(), stored, **given_)
    return compare("output", quantity, np.array(got).astype(dtype or STORAGE[stored]), 3, CONTEXT, "A", tolerance)


# ---- figures by hand -----------------------------------------------------------------------------------------------


def test_every_figure_of_a_worked_example():
    """Float32; reference 1, 4, -8; allowed about 1, 1, 2; errors 0.5, 3, 1.5."""
    figure = judged([1, 4, -8], [1, 1, 2], [1.5, 7, -6.5])
    allowed = 1 + 2.0**-24 * 4 + 2.0**-149
    assert figure.quantity == "output"
    assert (figure.step, figure.n, figure.kappa, figure.size) == (3, 7, 2.5, 3)
    assert figure.index == (1,)
    assert figure.error == 3.0
    assert figure.allowed == allowed
    assert figure.budget == 3 / allowed
    assert figure.exceeding == 1
    assert figure.ulps == 3 / 2.0**-21  # neighbours of 4 in float32 are 2^-21 apart
    assert figure.relative == 3 / 8
    assert figure.storage == pytest.approx(2.0**-22 / allowed)
    assert (figure.got, figure.expected) == ("7", "4")
    assert figure.source == "model, class A"
    assert figure.undetermined == 0
    assert not figure.ok


def test_the_share_of_rounding_on_store_is_that_of_what_is_allowed():
    rounding = 2.0**-24 * 4 + 2.0**-149
    assert judged([4], [3 * rounding], [4]).storage == pytest.approx(1 / 4)
    assert judged([4], [0.0], [4]).storage == 1


def test_the_worst_element_is_the_one_with_the_largest_share_not_the_largest_error():
    figure = judged([[0, 100], [0, 0]], [[1, 1000], [1, 1]], [[0, 600], [0, 0.75]])
    assert figure.index == (1, 1)
    assert figure.budget == pytest.approx(0.75)
    assert figure.relative == 5.0  # the size of the largest error, wherever it is
    assert figure.exceeding == 0
    assert figure.ok


def test_exact_agreement_uses_nothing():
    figure = judged([1, 2], [1e-3, 1e-3], [1, 2])
    assert (figure.budget, figure.error, figure.relative, figure.ulps, figure.exceeding) == (0, 0, 0, 0, 0)
    assert figure.ok


def test_an_error_where_everything_should_be_zero_has_no_finite_relative_size():
    assert judged([0, 0], 1e-3, [0, 1]).relative is None


def test_the_limit_itself_is_within_the_allowance():
    allowed = float(allowance(Quantity(np.array([1.0]), np.array([2.0**-10]), "float64"), "A").allowed[0])
    on_the_limit = judged([1.0], [2.0**-10], [1.0 + allowed], "float64")
    assert on_the_limit.ok == (on_the_limit.budget <= 1)
    assert judged([0.0], [2.0**-10 - 2.0**-1074], [2.0**-10], "float64").ok


def test_numbers_are_printed_with_the_digits_of_their_format():
    assert judged([1 / 3], 1, [1 / 3], "float32").got == "0.333333343"
    assert judged([1 / 3], 1, [1 / 3], "float64").got == "0.33333333333333331"
    assert judged([1 / 3], 1, [1 / 3], "float16").got == "0.33325"
    assert judged([1 / 3], 1, [1 / 3], "bfloat16").got == "0.334"


def test_the_share_that_is_undetermined_is_reported():
    figure = judged([1, 2, 3, 4], [np.inf, 1, 1, 1], [99, 2, 3, 4], undetermined=np.array([True, False, False, False]))
    assert figure.undetermined == 0.25
    assert figure.ok


# ---- NaN and infinities --------------------------------------------------------------------------------------------


def test_nan_must_meet_nan():
    assert judged([np.nan, 1], [np.nan, 1], [np.nan, 1]).ok


@pytest.mark.parametrize("got", [0.0, np.inf, -np.inf])
def test_a_number_or_an_infinity_where_nan_is_expected_fails(got):
    figure = judged([1, np.nan], [1, np.nan], [1, got])
    assert not figure.ok
    assert (figure.budget, figure.index, figure.expected, figure.exceeding) == (None, (1,), "nan", 1)


@pytest.mark.parametrize("scale", [1e-3, 1e300])
def test_nan_where_a_number_is_expected_fails_however_much_is_allowed(scale):
    figure = judged([1, 2], scale, [1, np.nan])
    assert not figure.ok
    assert (figure.budget, figure.error, figure.ulps, figure.relative) == (None, None, None, None)
    assert (figure.index, figure.got) == ((1,), "nan")


def test_where_nothing_is_promised_nan_and_infinity_are_as_good_as_anything():
    assert judged([1, 1, 1], np.inf, [np.nan, np.inf, 1e30]).ok


@pytest.mark.parametrize("got", [np.nan, np.inf, 0.0, 3.0])
def test_where_nothing_is_promised_a_reference_of_nan_asks_for_nothing(got):
    """0 / 0 in the reference of an undetermined slice is no expectation."""
    figure = judged([np.nan, 1], [np.inf, 1e-3], [got, 1], undetermined=np.array([True, False]))
    assert (figure.ok, figure.budget, figure.undetermined) == (True, 0, 0.5)


def test_where_all_is_zero_as_it_should_be_the_relative_size_is_zero():
    assert judged([0, 0], 1e-3, [0, 0]).relative == 0


def test_the_relative_size_is_that_of_what_is_promised():
    figure = judged([np.nan, 1e6, 2], [np.nan, np.inf, 1e-3], [np.nan, 0, 3])
    assert (figure.error, figure.relative) == (1, 0.5)


def test_in_an_undetermined_slice_that_is_still_bounded_nan_fails():
    """The sanity bound: this catches the NaN of a negative one-pass variance."""
    assert not judged([0.5], [10.0], [np.nan], undetermined=np.array([True])).ok
    assert judged([0.5], [10.0], [-3.0], undetermined=np.array([True])).ok


def test_for_running_statistics_of_a_poisoned_channel_an_infinity_is_as_good_as_nan():
    assert judged([np.nan], [np.nan], [np.inf], any_nonfinite=True).ok
    assert judged([np.nan], [np.nan], [np.nan], any_nonfinite=True).ok
    assert not judged([np.nan], [np.nan], [1.0], any_nonfinite=True).ok


# ---- overflow on store ---------------------------------------------------------------------------------------------

#: the largest number that still rounds to 65504 in float16
F = 65504 * (1 + 2.0**-11)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_infinity_is_right_where_the_reference_with_its_error_may_round_to_one(sign):
    assert judged([sign * (F - 10)], [10.0], [sign * np.inf], "float16").ok
    assert judged([sign * 1e9], [0.0], [sign * np.inf], "float16").ok
    assert judged([sign * 1e9], [0.0], [sign * 65504.0], "float16").ok


@pytest.mark.parametrize("sign", [1, -1])
def test_an_infinity_is_wrong_where_the_reference_with_its_error_stays_below(sign):
    figure = judged([sign * 60000.0], [10.0], [sign * np.inf], "float16")
    assert not figure.ok
    assert figure.error == pytest.approx(F - 60000)
    assert not judged([sign * 1e9], [0.0], [-sign * np.inf], "float16").ok


def test_an_infinity_counts_as_the_largest_number_whatever_the_sign_of_the_reference():
    assert judged([-10.0], [F], [np.inf], "float16").ok is False
    assert judged([-10.0], [F + 10], [np.inf], "float16").ok


# ---- structure and exact quantities ----------------------------------------------------------------------------------


def test_another_dtype_or_shape_is_a_failure_of_its_own():
    wrong_dtype = judged([1, 2], 1, [1, 2], "float32", dtype=np.float64)
    assert (wrong_dtype.ok, wrong_dtype.budget, wrong_dtype.source) == (False, None, "structure")
    assert (wrong_dtype.got, wrong_dtype.expected) == ("dtype float64", "dtype float32")
    wrong_shape = judged([1, 2], 1, [[1, 2]])
    assert (wrong_shape.ok, wrong_shape.got, wrong_shape.expected) == (False, "shape [1, 2]", "shape [2]")


def test_bfloat16_is_not_uint16():
    as_bits = np.array([1.0]).astype(ml_dtypes.bfloat16).view(np.uint16)
    assert judged([1.0], 1, as_bits, "bfloat16", dtype=np.uint16).source == "structure"


def test_integers_are_compared_exactly():
    quantity = Quantity(np.array(8), np.array(0.0), "int64")
    right, wrong = (compare("n", quantity, np.array(n), 0, CONTEXT, "A", None) for n in (8, 9))
    assert (right.ok, right.exceeding, right.source) == (True, 0, "exact")
    assert (wrong.ok, wrong.exceeding, wrong.got, wrong.expected) == (False, 1, "9", "8")


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4)])
@pytest.mark.parametrize("stored", ["float32", "int64"])
def test_empty_arrays_agree(shape, stored):
    quantity = Quantity(np.zeros(shape, STORAGE[stored]), np.zeros(shape), stored)
    figure = compare("output", quantity, np.zeros(shape, STORAGE[stored]), 0, CONTEXT, "A", None)
    assert figure.ok
    assert figure.size == 0


# ---- explicit tolerances -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tolerance", "passes", "fails"),
    [
        (Tolerance(rtol=0.25, origin="x.yaml:31"), 2.5, 2.75),
        (Tolerance(atol=0.5, origin="x.yaml:31"), 2.5, 2.75),
        (Tolerance(ulp=2, origin="x.yaml:31"), 2 + 2.0**-21, 2 + 3 * 2.0**-22),
        (Tolerance(budget=4, origin="x.yaml:31"), 2.375, 2.5),
    ],
)
def test_an_explicit_tolerance_decides_and_is_named(tolerance, passes, fails):
    good, bad = (judged([2.0], [0.1], [got], tolerance=tolerance) for got in (passes, fails))
    assert (good.ok, bad.ok) == (True, False)
    assert good.source == bad.source == "tolerance, x.yaml:31"


def test_a_tolerance_of_nothing_wants_equality():
    nothing = Tolerance(atol=0.0, rtol=0.0)
    same = judged([2.0], [0.1], [2.0], tolerance=nothing)
    assert (same.ok, same.budget, same.storage) == (True, 0.0, None)
    assert not judged([2.0], [0.1], [2.0 + 2.0**-22], tolerance=nothing).ok


def test_zero_agrees_with_zero_under_a_relative_tolerance():
    figure = judged([0.0, 1.0], [0.1, 0.1], [0.0, 1.05], tolerance=Tolerance(rtol=0.1))
    assert (figure.ok, figure.index) == (True, (1,))
    assert not judged([0.0, 1.0], [0.1, 0.1], [1e-9, 1.05], tolerance=Tolerance(rtol=0.1)).ok


# ---- properties ----------------------------------------------------------------------------------------------------


@st.composite
def expectations(draw):
    stored = draw(st.sampled_from(FLOATS))
    size = draw(st.integers(1, 6))
    values = st.floats(-3e4, 3e4, allow_subnormal=False)
    value = np.array(draw(st.lists(values, min_size=size, max_size=size)))
    scale = np.array(draw(st.lists(st.floats(0, 100), min_size=size, max_size=size)))
    return Quantity(value, scale, stored)


def rounded(value, stored):
    """Stored with one rounding."""
    return value.astype(STORAGE[stored])


@SETTINGS
@given(quantity=expectations())
def test_the_rounded_reference_always_passes(quantity):
    figure = compare("output", quantity, rounded(quantity.value, quantity.stored), 0, CONTEXT, "A", None)
    assert figure.ok
    assert figure.budget <= 1


@SETTINGS
@given(quantity=expectations(), data=st.data())
def test_an_error_beyond_the_allowance_fails_and_is_found(quantity, data):
    """The observed value is rounded on store, so the error is taken 1.01 times the allowance and an ulp."""
    where = data.draw(st.integers(0, quantity.value.size - 1))
    sign = data.draw(st.sampled_from([-1, 1]))
    allowed = allowance(quantity, "A").allowed[where]
    wrong = quantity.value.copy()
    wrong[where] += sign * 1.01 * allowed
    ulps = 2 * FORMATS[quantity.stored].u * abs(wrong[where]) + FORMATS[quantity.stored].eta
    wrong[where] += sign * ulps
    figure = compare("output", quantity, rounded(wrong, quantity.stored), 0, CONTEXT, "A", None)
    assert not figure.ok
    assert figure.index == (where,)
    assert figure.exceeding == 1
    assert figure.budget > 1


@SETTINGS
@given(quantity=expectations(), factor=st.floats(0, 0.99), data=st.data())
def test_an_error_within_the_scale_passes(quantity, factor, data):
    signs = np.array([data.draw(st.sampled_from([-1, 1])) for _ in quantity.value])
    # what is stored is rounded at the wrong value: u times that, where u times the right one is allowed
    u = FORMATS[quantity.stored].u
    near = quantity.value + signs * factor * quantity.scale / (1 + u)
    assert compare("output", quantity, rounded(near, quantity.stored), 0, CONTEXT, "A", None).ok
