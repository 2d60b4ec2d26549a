"""Random configurations: reproducible, valid, and of every kind."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.calibration.draw import ELEMENTS, FAMILIES, draw_case, draw_inputs, draw_powers
from conformance.inputs import make_inputs
from conformance.ops import OPS
from conformance.ops.normalisation import NORMALISATION
from conformance.suite.data_families import DATA

CASES = [draw_case(1, index) for index in range(600)]


def test_seed_and_index_decide_everything():
    assert draw_case(1, 7) == CASES[7]
    assert draw_case(2, 7) != CASES[7]
    assert len({case.key for case in CASES}) == len(CASES)


def test_every_op_format_and_finite_family_is_drawn():
    assert {case.op for case in CASES} == {op.name for op in NORMALISATION}
    assert {case.dtype for case in CASES} == {"float64", "float32", "bfloat16", "float16"}
    undrawn = {"f10-nan", "f10-inf", "whole", "nonzero", "special"}
    assert {case.data for case in CASES} == set(FAMILIES) == set(DATA) - undrawn
    assert any(case.param_dtype != case.dtype for case in CASES)


def test_slices_are_from_one_value_to_thousands_and_often_odd():
    sizes = [OPS[case.op].facts(case.args, case.shape)["normalised"] for case in CASES]
    assert min(sizes) == 1
    assert max(sizes) > 4096
    assert sum(size % 2 for size in sizes) > len(sizes) / 4


def test_buffers_are_carried_over_as_many_as_ten_steps_and_into_eval():
    lengths = {len(case.steps) for case in CASES}
    assert {1, 2} < lengths
    assert max(lengths) == 11  # ten, and an eval step that uses what they left
    assert any(case.steps[-1] == "eval" and "train" in case.steps for case in CASES)


@pytest.mark.parametrize("index", range(40))
def test_a_configuration_has_inputs_of_its_shape_and_a_bounded_size(index):
    case = CASES[index]
    inputs = make_inputs(case)
    assert len(inputs.steps) == len(case.steps)
    assert {step.x.shape for step in inputs.steps} == {case.shape}
    assert inputs.steps[0].x.size <= 2 * ELEMENTS


def test_every_fourth_configuration_has_a_scale_far_from_one():
    powers = [draw_powers(case, 1, index) for index, case in enumerate(CASES)]
    assert 0.2 < sum(power != (0, 0) for power in powers) / len(powers) < 0.3
    assert max(power for power, _ in powers) > 200
    index = next(index for index, case in enumerate(CASES) if case.dtype == "float32" and powers[index] != (0, 0))
    plain, scaled = make_inputs(CASES[index]).steps[0], draw_inputs(CASES[index], 1, index).steps[0]
    assert np.array_equal(scaled.x, np.ldexp(plain.x, powers[index][0]))
    assert np.array_equal(scaled.grad_output, np.ldexp(plain.grad_output, powers[index][1]))
