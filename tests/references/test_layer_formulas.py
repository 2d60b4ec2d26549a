"""The error scales of the layers once more: sums as torch's own on absolute values, the rest in plain numbers."""

from __future__ import annotations

from math import expm1, log, log1p

import numpy as np
import pytest
import torch
from torch.nn import functional

from conformance.inputs import make_inputs
from conformance.reference import build_reference
from references.rounding import precision

RULES = [("float64", "A"), ("float32", "A"), ("float16", "A"), ("bfloat16", "B")]


def found_of(case, label):
    """The quantities of the first step, with the arrays that they come from, in float64."""
    inputs, reference = make_inputs(case), build_reference(case, label)
    step = inputs.steps[0]
    found = reference.step(step.x, step.grad_output, inputs.params, {}, case.steps[0]).quantities
    arrays = {"x": step.x, "gy": step.grad_output, **inputs.params}
    return found, {name: array.astype(np.float64) for name, array in arrays.items()}


def close(found, expected):
    np.testing.assert_allclose(np.asarray(found, np.float64), np.asarray(expected), rtol=1e-9)


def magnitudes(function, x, gy, *params):
    """What a linear function and its gradients add up, taken absolutely: output, grad_input, then of each parameter."""
    leaves = [torch.from_numpy(np.abs(array)).requires_grad_() for array in (x, *params)]
    output = function(*leaves)
    gradients = torch.autograd.grad(output, leaves, torch.from_numpy(np.abs(gy)))
    return [array.detach().numpy() for array in (output, *gradients)]


def check_sum(p, quantity, size, n):
    close(quantity.scale, p.U * p.A(n) * size + n * p.t)


@pytest.mark.parametrize(("dtype", "label"), RULES)
@pytest.mark.parametrize("params", ["random", "negative"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_may_err_in_every_product_and_sum(case_of, dtype, label, bias, params):
    args = {"out_features": 4, "bias": bias}
    found, given = found_of(case_of("Linear", (3, 2, 5), dtype, data="scaled", params=params, **args), label)
    names = ("weight", "bias")[: 1 + bias]
    sizes = magnitudes(functional.linear, given["x"], given["gy"], *(given[name] for name in names))
    terms = {"output": 5 + bias, "grad_input": 4, "grad.weight": 6, "grad.bias": 6}
    assert len(found) == 3 + bias
    for name, size in zip(("output", "grad_input", *(f"grad.{name}" for name in names)), sizes, strict=True):
        check_sum(precision(dtype, label), found[name], size, terms[name])


@pytest.mark.parametrize(("dtype", "label"), RULES)
@pytest.mark.parametrize(("bias", "params"), [(True, "random"), (True, "negative"), (False, "random")])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_may_err_in_every_product_and_sum(case_of, dtype, label, bias, params, groups):
    """An element of the image lies in at most 4 of the windows of 3 x 3 that are 2 apart."""
    args = {"out_channels": 6, "kernel_size": 3, "stride": 2, "padding": 1, "groups": groups, "bias": bias}
    found, given = found_of(case_of("Conv2d", (2, 4, 7, 7), dtype, data="scaled", params=params, **args), label)
    names = ("weight", "bias")[: 1 + bias]

    def convolve(x, weight, bias=None):
        return functional.conv2d(x, weight, bias, stride=2, padding=1, groups=groups)

    sizes = magnitudes(convolve, given["x"], given["gy"], *(given[name] for name in names))
    images = 2 * 4 * 4
    terms = {
        "output": 4 // groups * 9 + bias, "grad_input": 6 // groups * 4, "grad.weight": images, "grad.bias": images
    }  # fmt: skip
    assert len(found) == 3 + bias
    for name, size in zip(("output", "grad_input", *(f"grad.{name}" for name in names)), sizes, strict=True):
        check_sum(precision(dtype, label), found[name], size, terms[name])


@pytest.mark.parametrize(("dtype", "label"), RULES)
@pytest.mark.parametrize(
    "given_args", [{}, {"divisor_override": 5}, {"divisor_override": -3}, {"count_include_pad": False}]
)
def test_an_average_may_err_in_its_sum_and_in_its_division(case_of, dtype, label, given_args):
    args = {"kernel_size": 3, "stride": 2, "padding": 1} | given_args
    found, given = found_of(case_of("AvgPool2d", (2, 3, 7, 7), dtype, data="scaled", **args), label)
    output, grad_input = magnitudes(lambda x: functional.avg_pool2d(x, **args), given["x"], given["gy"])
    p = precision(dtype, label)
    check_sum(p, found["output"], np.abs(output), 9 + 2)
    check_sum(p, found["grad_input"], np.abs(grad_input), 4 + 2)


def test_an_average_whose_sum_may_overflow_promises_nothing(case_of):
    case = case_of("AvgPool2d", (1, 1, 4, 4), "float32", kernel_size=2, stride=2)
    x = np.ones((1, 1, 4, 4), np.float32)
    x[0, 0, 2, 3] = 3e38
    found = build_reference(case).step(x, np.ones((1, 1, 2, 2), np.float32), {}, {}, "eval").quantities["output"]
    np.testing.assert_array_equal(found.undetermined, [[[[False, False], [False, True]]]])
    np.testing.assert_array_equal(np.isposinf(found.scale), found.undetermined)


@pytest.mark.parametrize(("dtype", "label"), RULES)
def test_the_gradient_of_a_maximum_may_err_where_windows_share_it_and_nowhere_else(case_of, dtype, label):
    args = {"kernel_size": 3, "stride": 1}
    found, given = found_of(case_of("MaxPool2d", (1, 2, 6, 6), dtype, data="scaled", **args), label)
    x, p = torch.from_numpy(given["x"]).requires_grad_(), precision(dtype, label)
    pooled = functional.max_pool2d(x, **args)
    times, sizes = (
        torch.autograd.grad(pooled, x, torch.from_numpy(upstream), retain_graph=True)[0].numpy()
        for upstream in (np.ones_like(given["gy"]), np.abs(given["gy"]))
    )
    assert {0, 1} < set(times.reshape(-1))
    most = int(times.max())
    close(found["grad_input"].scale, np.where(times > 1, p.U * p.A(most) * sizes + most * p.t, 0))
    assert not found["output"].scale.any()


@pytest.mark.parametrize(("dtype", "label"), RULES)
@pytest.mark.parametrize("op", ["Sigmoid", "Tanh"])
def test_the_gradient_of_an_activation_may_come_from_its_stored_output(case_of, op, dtype, label):
    found, given = found_of(case_of(op, (4, 9), dtype, data="scaled"), label)
    p = precision(dtype, label)
    x, gy = given["x"], np.abs(given["gy"])
    y = np.tanh(x) if op == "Tanh" else 1 / (1 + np.exp(-x))
    slope, derivative = (2 * np.abs(y), 1 / np.cosh(x) ** 2) if op == "Tanh" else (np.abs(1 - 2 * y), y * (1 - y))
    dy = 4 * p.U * np.abs(y) + p.t
    error = dy + p.stored.u * np.abs(y) + p.stored.eta
    moved = slope * error + error**2 + p.U * y**2  # of the derivative, a polynomial of degree two in y
    close(found["output"].scale, dy)
    close(found["grad_input"].scale, gy * moved + 4 * p.U * gy * derivative + p.t)


@pytest.mark.parametrize(("dtype", "label"), RULES)
@pytest.mark.parametrize(("p_drop", "exact"), [(0.3, False), (0.5, True), (0.75, True), (0.9, False)])
def test_dropout_errs_only_where_its_factor_must_be_rounded(case_of, dtype, label, p_drop, exact):
    found, _ = found_of(case_of("Dropout", (5, 8), dtype, data="scaled", p=p_drop), label)
    p = precision(dtype, label)
    for name in ("output", "grad_input"):
        value = np.abs(np.asarray(found[name].value, np.float64))
        assert value.any()
        close(found[name].scale, 0 * value if exact else 2 * p.U * value + p.t)


# ---- local response normalisation, one element after another --------------------------------------------------------


def response_scales(x, gy, size, alpha, beta, k, p):
    """d(y) and d(gx) at one place of the image: x, gy are its channels."""
    U, t, A, channels = p.U, p.t, p.A(size), range(len(x))

    def around(c, below, above):
        return [i for i in channels if c - below <= i <= c + above]

    square = [sum(x[i] ** 2 for i in around(c, size // 2, (size - 1) // 2)) / size for c in channels]
    a = [k + alpha * each for each in square]
    h = [(abs(alpha) * (U * (A + 4) * s + t) + U * abs(base)) / abs(base) for s, base in zip(square, a, strict=True)]
    rounded = float(np.asarray(beta).astype(p.compute.name))
    misfit = [p.K * abs(beta - rounded) * abs(log(base)) for base in a]

    def of_power(c, exponent):
        return expm1(-exponent * log1p(-h[c])) + 4 * U + misfit[c]

    dy, dgx = [], []
    for c in channels:
        y = abs(x[c]) * a[c] ** -beta
        dy.append(y * (of_power(c, abs(beta)) + 2 * U) + (abs(x[c]) + 1) * t)
        reaching = around(c, (size - 1) // 2, size // 2)
        terms = {i: gy[i] * x[i] * a[i] ** (-beta - 1) for i in reaching}
        factor = 2 * alpha * beta / size * x[c]
        gx = gy[c] * a[c] ** -beta - factor * sum(terms.values())
        reached = sum(abs(term) for term in terms.values())
        dreached = sum(
            abs(terms[i]) * (of_power(i, abs(beta) + 1) + U * (A + 4)) + (abs(gy[i] * x[i]) + 1) * t for i in reaching
        )
        error = abs(gy[c]) * a[c] ** -beta * (of_power(c, abs(beta)) + 3 * U) + U * abs(gx)
        dgx.append(error + abs(factor) * (dreached + 4 * U * reached) + (abs(gy[c]) + 1) * t)
    return dy, dgx


@pytest.mark.parametrize(("dtype", "label"), [("float32", "A"), ("float16", "A"), ("bfloat16", "B")])
@pytest.mark.parametrize("size", [1, 4, 5])
def test_the_scales_of_a_local_response_are_those_of_the_model(case_of, dtype, label, size):
    args = {"size": size, "alpha": 0.3, "beta": 0.7, "k": 1.5}
    found, given = found_of(case_of("LocalResponseNorm", (2, 6, 3), dtype, data="scaled", **args), label)
    p = precision(dtype, label)
    for n, place in np.ndindex(2, 3):
        x, gy = ([float(each) for each in given[name][n, :, place]] for name in ("x", "gy"))
        dy, dgx = response_scales(x, gy, size, 0.3, 0.7, 1.5, p)
        close(found["output"].scale[n, :, place], dy)
        close(found["grad_input"].scale[n, :, place], dgx)
