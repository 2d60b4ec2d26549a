"""Root mean square normalisation: what sets it apart from layer normalisation."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.reference import build_reference


@pytest.mark.parametrize(
    ("dtype", "eps"), [("float64", 2.0**-52), ("float32", 2.0**-23), ("bfloat16", 2.0**-23), ("float16", 2.0**-23)]
)
def test_without_eps_it_takes_the_epsilon_of_the_compute_format(case_of, dtype, eps):
    assert build_reference(case_of("RMSNorm", (3, 5), dtype)).eps == eps


def test_a_given_eps_is_taken_and_zero_is_given(case_of):
    assert build_reference(case_of("RMSNorm", (3, 5), eps=0.25)).eps == 0.25
    assert build_reference(case_of("RMSNorm", (3, 5), eps=0.0)).eps == 0.0


def test_nothing_is_centred(case_of):
    """The mean square of the output is 1, and its mean is not 0."""
    case = case_of("RMSNorm", (4, 50), data="f6-long-positive", elementwise_affine=False)
    inputs, reference = make_inputs(case), build_reference(case)
    (step,) = inputs.steps
    y = reference.step(step.x, step.grad_output, inputs.params, {}, "train").quantities["output"].value
    np.testing.assert_allclose((y * y).mean(axis=1), 1, rtol=1e-5)
    assert (y.mean(axis=1) > 0.8).all()


def test_it_has_a_weight_and_no_bias(case_of):
    case = case_of("RMSNorm", (4, 5))
    inputs, reference = make_inputs(case), build_reference(case)
    (step,) = inputs.steps
    found = reference.step(step.x, step.grad_output, inputs.params, {}, "train").quantities
    assert set(found) == {"output", "grad_input", "grad.weight"}
