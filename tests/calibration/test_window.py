"""Local response normalisation: every own form computes the definition."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.calibration.examine import stored_steps
from conformance.calibration.window import WINDOW_FORMS, WindowLayer
from conformance.inputs import Inputs, StepInputs, make_inputs
from conformance.judge import Expectation
from conformance.judge.verdict import figures_of


@pytest.mark.parametrize("form", WINDOW_FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("size", [1, 3, 4, 9])
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 3e-6), ("float64", 1e-14)])
def test_every_form_computes_the_definition(case_of, form, size, dtype, limit):
    case = case_of("LocalResponseNorm", (2, 7, 3), dtype, size=size, alpha=0.5, beta=0.7, k=0.5, data="scaled")
    inputs = make_inputs(case)
    (expected,), (got,) = Expectation(case, inputs).steps(), WindowLayer(case, form).run(inputs)
    for name, quantity in expected.quantities.items():
        assert got[name].dtype == np.dtype(dtype)
        assert np.abs(got[name] - quantity.value).max() <= limit * np.abs(quantity.value).max()


@pytest.mark.parametrize("scale", [1e10, 1e15])
@pytest.mark.parametrize("form", WINDOW_FORMS, ids=lambda form: form.name)
def test_a_rounded_exponent_and_a_subnormal_power_are_allowed(case_of, form, scale):
    """0.3 is no float32 number, which moves a^-0.3 by 14 ulp at a = 1e30, where a^-1.3 is subnormal as well."""
    case = case_of("LocalResponseNorm", (2, 7, 40), size=3, alpha=2.0, beta=0.3)
    (step,) = make_inputs(case).steps
    large = Inputs({}, {}, (StepInputs(step.x * np.float32(scale), step.grad_output),))
    observation = stored_steps(case, WindowLayer(case, form).run(large))
    assert all(figure.ok for figure in figures_of(case, Expectation(case, large), observation, (), "A"))
