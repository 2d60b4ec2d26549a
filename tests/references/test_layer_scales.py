"""The error scales of the layers: wide enough for every correct implementation, narrow enough for a wrong one.

The references' own errors are measured in exact arithmetic, rational for sums and in balls of 320 bits for sigmoid and
tanh; what torch makes of drawn configurations shows that nothing right is refused.
"""

from __future__ import annotations

from fractions import Fraction
from random import Random

import flint
import numpy as np
import pytest
from layer_draws import drawn

from conformance.backends.torch_module import torch_cpu
from conformance.inputs import make_inputs
from conformance.judge.compare import compare
from conformance.reference import build_reference
from conformance.suite.data_families import DATA
from references.expected import Expected
from references.rounding import FORMATS, LONGDOUBLE_IS_WIDER

FINITE = [name for name in DATA if name not in {"f10-nan", "f10-inf", "special"}]
#: the reference may use up to this much of what it allows; the rest belongs to the layer under test
SHARE = 0.01
FLOATS = ["float64", "float32", "bfloat16", "float16"]


def exact(number):
    """Exactly this number of any NumPy type."""
    mantissa, exponent = np.frexp(np.longdouble(number))
    return Fraction(int(np.ldexp(mantissa, 64))) * Fraction(2) ** (int(exponent) - 64)


def allowed(quantity, index):
    stored = FORMATS[quantity.stored]
    return quantity.scale[index] + stored.u * abs(quantity.value[index]) + stored.eta


@pytest.mark.skipif(not LONGDOUBLE_IS_WIDER, reason="long double is no wider than float64 on this machine")
@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_use_at_most_a_hundredth_of_their_own_allowance(dtype, case_of, record_property):
    worst, counted = 0.0, 0
    for data in FINITE:
        case = case_of("Linear", (3, 11), dtype, data=data, out_features=2)
        inputs = make_inputs(case)
        step = inputs.steps[0]
        found = build_reference(case).step(step.x, step.grad_output, inputs.params, {}, "train").quantities
        if not np.isfinite(step.x.astype(np.float64)).all():
            continue  # the format cannot hold this family
        given = (step.x, step.grad_output, inputs.params["weight"], inputs.params["bias"])
        x, gy, w, b = (np.vectorize(exact, otypes=[object])(array) for array in given)
        truths = {
            "output": x.dot(w.T) + b, "grad_input": gy.dot(w), "grad.weight": gy.T.dot(x), "grad.bias": gy.sum(axis=0)
        }  # fmt: skip
        for name, truth in truths.items():
            for index in np.ndindex(truth.shape):
                error = abs(exact(found[name].value[index]) - truth[index])
                worst, counted = max(worst, float(error) / float(allowed(found[name], index))), counted + 1
    record_property("share", worst)
    assert worst <= SHARE
    assert counted > 900


@pytest.mark.skipif(not LONGDOUBLE_IS_WIDER, reason="long double is no wider than float64 on this machine")
@pytest.mark.parametrize("op", ["Sigmoid", "Tanh"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_activations_use_at_most_a_hundredth_of_their_own_allowance(op, dtype, case_of, record_property):
    worst, counted = 0.0, 0
    with flint.ctx.workprec(320):
        for data in FINITE:
            case = case_of(op, (4, 23), dtype, data=data)
            step = make_inputs(case).steps[0]
            found = build_reference(case).step(step.x, step.grad_output, {}, {}, "train").quantities
            for index in np.ndindex(step.x.shape):
                if not np.isfinite(step.x[index].astype(np.float64)):
                    continue
                z, g = (ball(array[index]) for array in (step.x, step.grad_output))
                y, slope = logistic(z) if op == "Sigmoid" else tangent(z)
                for name, truth in (("output", y), ("grad_input", g * slope)):
                    error = abs(ball(found[name].value[index]) - truth) / ball(allowed(found[name], index))
                    worst, counted = max(worst, float(error.abs_upper())), counted + 1
    record_property("share", worst)
    assert worst <= SHARE
    assert counted > 4000


def ball(number):
    mantissa, exponent = np.frexp(np.longdouble(number))
    return flint.arb((int(np.ldexp(mantissa, 64)), int(exponent) - 64))


def logistic(z):
    y = 1 / (1 + (-z).exp())
    return y, y / (1 + z.exp())


def tangent(z):
    return z.tanh(), 1 / z.cosh() ** 2


# ---- what torch makes of drawn configurations -----------------------------------------------------------------------

#: quantities that torch's CPU kernels round to the storage format on the way, as the case files declare
CLASS_B = {
    "Linear": {"output"},
    "Conv2d": {"grad_input", "grad.weight", "grad.bias"},
    "MaxPool2d": {"grad_input"},
    "AvgPool2d": {"grad_input"},
    "Sigmoid": {"grad_input"},
}
CAMPAIGN = ("Linear", "Conv2d", "MaxPool2d", "AvgPool2d", "ReLU", "Sigmoid", "Tanh")


@pytest.mark.parametrize("op", CAMPAIGN)
@pytest.mark.parametrize("dtype", FLOATS)
def test_torch_is_never_refused(op, dtype, case_of, record_property):
    """Every quantity of drawn configurations, data and layouts, within its class."""
    random, backend, worst = Random(f"campaign {op} {dtype}"), torch_cpu(), (0.0, "", "")
    for draw in range(60):
        args, shape = drawn(op, random)
        data = random.choice([name for name in FINITE if (dtype, name) != ("float16", "shifted-1e5")])
        layout = random.choice(("contiguous", "transposed", "strided"))
        case = case_of(op, shape, dtype, data=data, layout=layout, key=f"campaign/{op}/{dtype}/{draw}", **args)
        inputs = make_inputs(case)
        step = inputs.steps[0]
        observation = backend.run(case, inputs)
        assert observation.raised is None, (args, shape, observation.raised)
        for label in ("A", "B"):
            expected = build_reference(case, label).step(step.x, step.grad_output, inputs.params, {}, "train")
            for name, quantity in expected.quantities.items():
                narrow = dtype in ("bfloat16", "float16") and name in CLASS_B.get(op, ())
                if label == ("B" if narrow else "A"):
                    figure = compare(name, quantity, observation.steps[0].arrays[name], 0, expected, label, None)
                    assert figure.ok, (args, shape, data, layout, figure)
                    worst = max(worst, (figure.budget, name, data))
    record_property("worst budget", f"{worst[0]:.3g} {worst[1]} {worst[2]}")


@pytest.mark.parametrize("op", [op for op in CAMPAIGN if op != "ReLU"])
def test_a_thousandth_too_much_is_seen_in_float32(op, case_of):
    random = Random(op)
    args, shape = drawn(op, random)
    case = case_of(op, shape, "float32", data="scaled", **args)
    inputs = make_inputs(case)
    step = inputs.steps[0]
    expected = build_reference(case).step(step.x, step.grad_output, inputs.params, {}, "train")
    for name, quantity in expected.quantities.items():
        wrong = (quantity.value * 1.001).astype(np.float32)
        figure = compare(name, quantity, wrong, 0, Expected({}, {}), "A", None)
        assert not figure.ok, name


def test_a_sum_that_may_overflow_on_the_way_promises_nothing(case_of):
    case = case_of("Linear", (1, 2), "float32", out_features=1, bias=False)
    huge = np.full((1, 2), 3e38, np.float32) * np.array([1, -1], np.float32)
    ones = np.ones((1, 2), np.float32)
    found = build_reference(case).step(huge, ones[:, :1], {"weight": ones}, {}, "eval")
    assert np.isposinf(found.quantities["output"].scale).all()
    assert found.undetermined_slices == 1


def test_what_is_selected_or_moved_has_no_error_of_its_own(case_of):
    for op, args in (("ReLU", {}), ("Flatten", {}), ("MaxPool2d", {"kernel_size": 2})):
        case = case_of(op, (2, 3, 4, 4), "float32", **args)
        step = make_inputs(case).steps[0]
        found = build_reference(case).step(step.x, step.grad_output, {}, {}, "train").quantities
        assert not found["output"].scale.any()
        assert not found["grad_input"].scale.any(), "windows that share nothing sum nothing"
