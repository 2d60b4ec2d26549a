"""Gradients against the complex step, on the forward pass written with NumPy on whole arrays.

f'(x) = Im f(x + ih) / h has no cancellation, so h may be 1e-200 (Squire and Trapp 1998, equation 6): the derivative is
good to the last bits of float64.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.reference import build_reference

H = 1e-200
SETTINGS = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def standardised(x, axes, eps):
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + eps)


def forward(case, x, params, buffers):
    """The output of a layer, real or complex."""
    op, args = case.op, case.args
    if op == "LocalResponseNorm":
        size, channels = args["size"], x.shape[1]
        square = np.zeros_like(x)
        for c in range(channels):
            low, high = max(0, c - size // 2), min(channels, c + (size - 1) // 2 + 1)
            square[:, c] = (x[:, low:high] ** 2).sum(axis=1) / size
        return x * (args["k"] + args["alpha"] * square) ** -args["beta"]
    if op in {"LayerNorm", "RMSNorm"}:
        axes = tuple(range(x.ndim - len(args["normalized_shape"]), x.ndim))
        shape = args["normalized_shape"]
    else:
        axes = tuple(range(2, x.ndim)) if op.startswith("InstanceNorm") else (0, *range(2, x.ndim))
        shape = (1, -1, *(1 for _ in x.shape[2:]))
    eps = args["eps"]
    if op == "RMSNorm":
        xh = x / np.sqrt((x * x).mean(axis=axes, keepdims=True) + eps)
    elif op == "GroupNorm":
        groups = x.reshape(x.shape[0], args["num_groups"], -1)
        xh = standardised(groups, (2,), eps).reshape(x.shape)
    elif case.steps == ("eval",) and args.get("track_running_stats"):
        mean, var = (buffers[name].reshape(shape) for name in ("running_mean", "running_var"))
        xh = (x - mean) / np.sqrt(var + eps)
    else:
        xh = standardised(x, axes, eps)
    if "weight" in params:
        xh = xh * params["weight"].reshape(shape)
    return xh + params["bias"].reshape(shape) if "bias" in params else xh


def derivative(function, at, grad_output):
    """The gradient of sum(grad_output * function(at)), one imaginary step for each element."""
    gradient = np.empty(at.shape)
    for index in np.ndindex(at.shape):
        stepped = at.astype(np.complex128)
        stepped[index] += 1j * H
        gradient[index] = (grad_output * function(stepped)).sum().imag / H
    return gradient


LAYERS = st.sampled_from(
    [
        ("BatchNorm1d", {}, 2),
        ("BatchNorm2d", {}, 4),
        ("BatchNorm2d", {"steps": ("eval",)}, 4),
        ("BatchNorm3d", {"track_running_stats": False}, 5),
        ("LayerNorm", {}, 2),
        ("LayerNorm", {"normalized_shape": {"last": 2}}, 3),
        ("RMSNorm", {}, 3),
        ("InstanceNorm1d", {"affine": True}, 3),
        ("InstanceNorm2d", {"affine": True, "track_running_stats": True, "steps": ("eval",)}, 4),
        ("GroupNorm", {"num_groups": "channels"}, 3),
        ("GroupNorm", {"num_groups": 1}, 4),
        ("LocalResponseNorm", {}, 3),
    ]
)


@SETTINGS
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), eps=st.sampled_from([1e-5, 1e-3, 0.5]), layer=LAYERS)
def test_every_gradient_is_the_derivative_of_the_forward_pass(case_of, data, seed, eps, layer):
    op, given_, rank = layer
    shape = tuple(data.draw(st.lists(st.integers(2, 4), min_size=rank, max_size=rank)))
    rng = np.random.default_rng(seed)
    if op == "LocalResponseNorm":
        arguments = {"size": int(rng.integers(1, 6)), "alpha": 0.7, "beta": float(rng.uniform(0.3, 2)), "k": 1.5}
    else:
        arguments = {"eps": eps}
    # the float64 reference: long double has no complex step here, and its values are tested elsewhere
    case = case_of(op, shape, "float32", param_dtype="float64", **arguments, **given_)
    channels = case.args.get("normalized_shape") or (shape[1],)
    x, grad_output = rng.normal(0.5, 2, shape), rng.normal(1, 1, shape)
    params = {name: rng.normal(1, 1, channels) for name in () if op == "LocalResponseNorm"}
    if op != "LocalResponseNorm":
        params["weight"] = rng.normal(1, 1, channels)
    if op not in {"LocalResponseNorm", "RMSNorm"}:
        params["bias"] = rng.normal(1, 1, channels)
    buffers = {"running_mean": rng.normal(0, 1, shape[1:2]), "running_var": rng.uniform(0.3, 2, shape[1:2])}
    buffers["num_batches_tracked"] = np.array(3, np.int64)

    reference = build_reference(case)
    found = reference.step(x, grad_output, params, reference.initial(buffers), case.steps[0]).quantities

    def agrees(quantity, expected):
        value = found[quantity].value
        scale = np.abs(expected).max() + np.abs(grad_output).max() / np.sqrt(eps)
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12 * scale, err_msg=quantity)

    agrees("output", forward(case, x, params, buffers))
    agrees("grad_input", derivative(lambda z: forward(case, z, params, buffers), x, grad_output))
    for name, parameter in params.items():
        expected = derivative(lambda z, n=name: forward(case, x, {**params, n: z}, buffers), parameter, grad_output)
        agrees(f"grad.{name}", expected)


@pytest.mark.parametrize("terms", ["S1", "S2"])
def test_the_complex_step_sees_a_missing_term(case_of, terms):
    """The instrument finds what it is for: a gradient without one of its sums is not the derivative."""
    case = case_of("LayerNorm", (3, 5), "float32", param_dtype="float64")
    rng = np.random.default_rng(0)
    x, grad_output = rng.normal(size=(3, 5)), rng.normal(1, 1, size=(3, 5))
    xh = standardised(x, (1,), 1e-5)
    s = 1 / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    sums = {"S1": grad_output.mean(axis=1, keepdims=True), "S2": xh * (grad_output * xh).mean(axis=1, keepdims=True)}
    wrong = s * (grad_output - sums[terms])
    true = derivative(lambda z: forward(case, z, {}, {}), x, grad_output)
    assert np.abs(wrong - true).max() > 0.1
    right = s * (grad_output - sums["S1"] - sums["S2"])
    np.testing.assert_allclose(right, true, rtol=0, atol=1e-13)
