"""What is allowed: the model and one rounding on store, or what the case file puts in its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.judge.allowance import allowance, storage_rounding, tolerance_for, ulp, ulp_at
from conformance.suite.case import Tolerance
from references.expected import Quantity
from references.rounding import FORMATS, STORAGE

FLOATS = ["float64", "float32", "bfloat16", "float16"]


def quantity(value, scale, stored="float32"):
    return Quantity(np.array(value, np.float64), np.array(scale, np.float64), stored)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(number=st.floats(-6e4, 6e4), dtype=st.sampled_from(FLOATS))
def test_rounding_on_store_never_costs_more_than_is_allowed_for_it(number, dtype):
    kept = np.float64(STORAGE[dtype].type(number))
    if dtype == "bfloat16":  # by way of float32 where ml_dtypes has no direct way
        kept = np.float64(STORAGE[dtype].type(np.float32(number)))
        number = np.float64(np.float32(number))
    assert abs(kept - number) <= storage_rounding(np.array(number), FORMATS[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("number", [1.0, 1.5, 1.999, 2.0, 0.75, 1000.0, 3e-5])
def test_an_ulp_is_the_gap_to_the_next_number_of_the_format(dtype, number):
    here = STORAGE[dtype].type(number)
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[STORAGE[dtype].itemsize]
    following = (np.array([here]).view(bits) + bits(1)).view(STORAGE[dtype])[0]
    assert float(ulp(np.array(float(here)), FORMATS[dtype])) == float(following) - float(here)


@pytest.mark.parametrize("stored", FORMATS.values(), ids=str)
def test_an_ulp_at_one_number_is_that_of_an_array(stored):
    numbers = [0.0, -1.0, 1.5, stored.tiny, -stored.tiny / 2, stored.eta, stored.max, 3e-3, *np.ldexp(1.0, [-7, 9])]
    assert [ulp_at(float(number), stored) for number in numbers] == ulp(np.array(numbers), stored).tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_ulp_is_never_smaller_than_the_smallest_subnormal(dtype):
    assert float(ulp(np.array(0.0), FORMATS[dtype])) == FORMATS[dtype].eta
    assert float(ulp(np.array(FORMATS[dtype].eta), FORMATS[dtype])) == FORMATS[dtype].eta


def test_the_model_is_the_scale_and_one_rounding_on_store():
    found = allowance(quantity([2.0, 0.0], [1e-3, 0.0]), "A")
    np.testing.assert_array_equal(found.allowed, [1e-3 + 2.0**-24 * 2 + 2.0**-149, 2.0**-149])
    assert found.source == "model, class A"


@pytest.mark.parametrize(
    ("tolerance", "allowed"),
    [
        (Tolerance(rtol=0.1), [0.2, 0.0]),
        (Tolerance(atol=0.5), [0.5, 0.5]),
        (Tolerance(rtol=0.1, atol=0.5), [0.7, 0.5]),
        (Tolerance(ulp=3), [3 * 2.0**-22, 3 * 2.0**-149]),
        (Tolerance(atol=1e-3, ulp=1), [1e-3 + 2.0**-22, 1e-3 + 2.0**-149]),
        (Tolerance(budget=10), [10 * (1e-3 + 2.0**-23 + 2.0**-149), 10 * (1e-3 + 2.0**-149)]),
    ],
)
def test_an_explicit_tolerance_replaces_or_stretches_the_model_and_says_where_it_stands(tolerance, allowed):
    marked = Tolerance(**{f: getattr(tolerance, f) for f in ("rtol", "atol", "ulp", "budget")}, origin="x.yaml:31")
    found = allowance(quantity([-2.0, 0.0], [1e-3, 1e-3]), "A", marked)
    np.testing.assert_allclose(found.allowed, allowed, rtol=1e-15)
    assert found.source == "tolerance, x.yaml:31"


@pytest.mark.parametrize("tolerance", [Tolerance(rtol=0.1), Tolerance(ulp=2), Tolerance(budget=3), None])
def test_no_tolerance_makes_a_promise_where_the_mathematics_makes_none(tolerance):
    assert np.isinf(allowance(quantity([1.0], [np.inf]), "A", tolerance).allowed).all()


def test_a_tolerance_is_found_by_name_and_by_wildcard_first_come_first_served(case_of):
    grads, all_of_them = Tolerance(rtol=1.0), Tolerance(rtol=2.0)
    case = case_of("LayerNorm", (2, 3), tolerance={"grad.*": grads, "*": all_of_them})
    assert tolerance_for(case, "grad.weight") == grads
    assert tolerance_for(case, "output") == all_of_them
    assert tolerance_for(case_of("LayerNorm", (2, 3)), "output") is None
