"""The one-pass variance E[x^2] - E[x]^2 fails where it loses digits that the definition keeps, and passes elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.inputs import bits, make_inputs
from conformance.judge.compare import compare
from conformance.reference import build_reference

SEEDS = range(10)
EPS = 1e-5


def one_pass(x, axis):
    """Mean and variance in one sweep, every sum in the dtype of x."""
    mean = x.mean(axis=axis, keepdims=True, dtype=x.dtype)
    return mean, (x * x).mean(axis=axis, keepdims=True, dtype=x.dtype) - mean * mean


def two_pass(x, axis):
    mean = x.mean(axis=axis, keepdims=True, dtype=x.dtype)
    centred = x - mean
    return mean, (centred * centred).mean(axis=axis, keepdims=True, dtype=x.dtype)


def budget(case_of, op, n, dtype, kappa, seed, statistics):
    """Error / allowed of the output of a layer with these statistics on N(kappa, 1); infinite for NaN."""
    shape, axis = ((4, n), 1) if op == "LayerNorm" else ((n, 4), 0)
    case = case_of(op, shape, dtype, key=f"one-pass/{op}/{n}/{kappa}/{seed}", eps=EPS)
    inputs, reference = make_inputs(case), build_reference(case)
    x = (bits.normal(case.key, shape) + kappa).astype(dtype)
    state = reference.initial(inputs.buffers)
    expected = reference.step(x, inputs.steps[0].grad_output, inputs.params, state, "train")
    mean, variance = statistics(x, axis)
    with np.errstate(invalid="ignore"):
        xh = (x - mean) * (1 / np.sqrt(variance + x.dtype.type(EPS)))
    y = xh * inputs.params["weight"] + inputs.params["bias"]
    assert y.dtype == x.dtype
    assert expected.undetermined_slices == 0
    figure = compare("output", expected.quantities["output"], y, 0, expected, "A", None)
    assert figure.ok == (figure.budget is not None and figure.budget <= 1)
    return np.inf if figure.budget is None else figure.budget


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("op", ["LayerNorm", "BatchNorm1d"])
@pytest.mark.parametrize(
    ("dtype", "kappa", "ns"),
    [("float32", 3000.0, (8, 16, 32)), ("float64", 1e7, (8, 16, 32)), ("float32", 1e4, (8, 32))],
)
def test_it_fails_on_a_large_mean(case_of, op, dtype, kappa, ns, seed):
    for n in ns:
        assert budget(case_of, op, n, dtype, kappa, seed, one_pass) > 10
        assert budget(case_of, op, n, dtype, kappa, seed, two_pass) < 0.5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("op", ["LayerNorm", "BatchNorm1d"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_passes_where_the_mean_is_no_larger_than_three_standard_deviations(case_of, op, dtype, seed):
    for n in (8, 16, 32, 128, 512):
        for kappa in (0.0, 1.0, 3.0):
            assert budget(case_of, op, n, dtype, kappa, seed, one_pass) < 1


@pytest.mark.parametrize(("n", "kappa", "passes"), [(8, 100, False), (512, 100, True), (8, 1, True), (32, 1000, False)])
def test_the_border_lies_where_it_was_measured(case_of, n, kappa, passes):
    """It loses n u kappa^2 where n u kappa is allowed: the border moves with n."""
    worst = max(budget(case_of, "LayerNorm", n, "float32", float(kappa), seed, one_pass) for seed in SEEDS)
    assert (worst < 1) == passes
