"""The reference of Dropout: one draw of its own, and what follows from somebody else's."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.reference import build_reference


def reference_of(case_of, op="Dropout", shape=(30, 40), dtype="float32", **args):
    case = case_of(op, shape, dtype, data="nonzero", **args)
    return build_reference(case), make_inputs(case).steps[0]


def test_its_own_draw_depends_on_the_data_alone(case_of):
    reference, step = reference_of(case_of, p=0.3)
    first, again = (reference.step(step.x, step.grad_output, {}, {}, "train").quantities for _ in range(2))
    np.testing.assert_array_equal(first["output"].value, again["output"].value)
    other = reference.step(step.x[::-1].copy(), step.grad_output, {}, {}, "train").quantities
    assert ((first["output"].value == 0) != (other["output"].value[::-1] == 0)).any()
    assert 0.2 < (first["output"].value == 0).mean() < 0.4


def test_one_mask_serves_forward_and_backward(case_of):
    reference, step = reference_of(case_of, p=0.5)
    found = reference.step(step.x, step.grad_output, {}, {}, "train").quantities
    kept = found["output"].value != 0
    np.testing.assert_array_equal(found["output"].value, np.where(kept, 2 * step.x.astype(np.float64), 0))
    np.testing.assert_array_equal(found["grad_input"].value, np.where(kept, 2 * step.grad_output.astype(np.float64), 0))


@pytest.mark.parametrize(
    ("op", "shape", "units"),
    [("Dropout", (6, 5), (6, 5)), ("Dropout1d", (6, 5, 4), (6, 5, 1)), ("Dropout1d", (6, 5), (6, 1)),
     ("Dropout2d", (6, 5, 4, 3), (6, 5, 1, 1)), ("Dropout2d", (6, 5, 4), (6, 5, 1))],
)  # fmt: skip
def test_a_unit_is_an_element_or_a_channel(op, shape, units, case_of):
    reference, step = reference_of(case_of, op, shape, p=0.5)
    assert reference.mask(step.x).shape == units
    dropped = reference.step(step.x, step.grad_output, {}, {}, "train").quantities["output"].value == 0
    axes = tuple(axis for axis, size in enumerate(units) if size == 1)
    assert (dropped.all(axis=axes) == dropped.any(axis=axes)).all(), "nothing is dropped in part"


@pytest.mark.parametrize(("p", "mode"), [(0.0, "train"), (0.0, "eval"), (0.7, "eval"), (1.0, "eval")])
def test_where_nothing_drops_every_bit_passes(p, mode, case_of):
    reference, step = reference_of(case_of, p=p)
    found = reference.step(step.x, step.grad_output, {}, {}, mode).quantities
    np.testing.assert_array_equal(found["output"].value, step.x)
    np.testing.assert_array_equal(found["grad_input"].value, step.grad_output)
    assert not found["output"].scale.any()


def test_a_probability_of_one_drops_everything(case_of):
    reference, step = reference_of(case_of, p=1.0)
    found = reference.step(step.x, step.grad_output, {}, {}, "train").quantities
    assert not found["output"].value.any()
    assert not found["grad_input"].value.any()


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_the_product_with_the_rounded_factor_is_within_the_scale(dtype, case_of):
    """1 / (1 - p) rounded to the compute format, and the product rounded to it: in exact arithmetic."""
    compute = np.float64 if dtype == "float64" else np.float32
    reference, step = reference_of(case_of, dtype=dtype, shape=(4, 9), p=0.3)
    given = reference.given(step.x, step.grad_output, {"output": np.ones_like(step.x)}, "train").quantities["output"]
    factor = compute(1 / (1 - compute(0.3)))
    for index in np.ndindex(step.x.shape):
        x = step.x[index].astype(np.float64)
        truth = Fraction(x) / (1 - Fraction(0.3))
        computed = Fraction(float(compute(compute(x) * factor)))
        assert abs(computed - truth) <= Fraction(float(given.scale[index]))


def test_the_mask_is_that_of_the_output_and_hidden_where_all_of_a_unit_is_zero(case_of):
    reference, _ = reference_of(case_of, "Dropout1d", (1, 4, 2), p=0.5)
    x = np.array([[[1, 2], [0, 3], [0, 0], [0, 0]]], np.float32)
    output = np.array([[[0, 0], [0, 6], [0, 0], [0, 0]]], np.float32)
    gradient = np.array([[[0, 0], [2, 2], [2, 2], [0, 0]]], np.float32)
    kept, seen = reference.shown(x, {"output": output, "grad_input": gradient})
    assert kept.reshape(-1).tolist() == [False, True, True, False]
    assert seen.reshape(-1).tolist() == [True, True, False, False]
    kept, _ = reference.shown(x, {"output": output})
    assert kept.reshape(-1).tolist() == [False, True, False, False]


def test_an_output_of_another_shape_or_in_eval_shows_no_mask_and_is_compared_with_the_definition(case_of):
    case = case_of("Dropout", (4, 6), "float32", p=0.5)
    step, reference = make_inputs(case).steps[0], build_reference(case)
    right = reference.step(step.x, step.grad_output, {}, {}, "train").quantities["output"].value
    found = reference.given(step.x, step.grad_output, {"output": np.zeros((4, 5), np.float32)}, "train")
    np.testing.assert_array_equal(found.quantities["output"].value, right)
    kept = reference.given(step.x, step.grad_output, {"output": np.zeros((4, 6), np.float32)}, "eval")
    np.testing.assert_array_equal(kept.quantities["output"].value, step.x)
