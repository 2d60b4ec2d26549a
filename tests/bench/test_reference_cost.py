"""What the error scales cost: the reference beside the same formulas without them.

Never a gate: times depend on the machine.  Read with ``pytest -s -m slow tests/bench``.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.reference import build_reference

LAYERS = {
    "LayerNorm 4x16": ("LayerNorm", (4, 16), {}),
    "LayerNorm 32x64": ("LayerNorm", (32, 64), {}),
    "RMSNorm 4x16": ("RMSNorm", (4, 16), {"eps": 1e-6}),
    "BatchNorm3d 8x4x4x4": ("BatchNorm3d", (8, 4, 4, 4, 1), {}),
    "BatchNorm2d 4x3x5x6": ("BatchNorm2d", (4, 3, 5, 6), {}),
    "GroupNorm 3x6x5x7": ("GroupNorm", (3, 6, 5, 7), {"num_groups": 2}),
    "InstanceNorm2d 3x4x5x7": ("InstanceNorm2d", (3, 4, 5, 7), {"affine": True}),
    "LayerNorm 256x1024": ("LayerNorm", (256, 1024), {}),
}


def plain(reference, x, grad_output, params, state):
    """Values alone: the formulas of references.normalisation on whole arrays, and the moved buffers."""
    wide = reference.precision.reference
    fold = reference.fold(x.shape)
    X, gy = fold.fold(x.astype(wide)), fold.fold(grad_output.astype(wide))
    w = fold.spread(params["weight"].astype(wide))
    b = fold.spread(params["bias"].astype(wide)) if "bias" in params else 0
    if reference.centred:
        m = X.mean(axis=1, keepdims=True)
        m = m + (X - m).mean(axis=1, keepdims=True)
        xc = X - m
        xc = xc - xc.mean(axis=1, keepdims=True)
    else:
        m, xc = 0, X
    v = (xc * xc).mean(axis=1, keepdims=True)
    s = 1 / np.sqrt(v + reference.real(reference.eps))
    xh = xc * s
    g = gy * w
    S1 = g.mean(axis=1, keepdims=True) if reference.centred else 0
    S2 = (g * xh).mean(axis=1, keepdims=True)
    values = {
        "output": fold.unfold(w * xh + b),
        "grad_input": fold.unfold(s * (g - S1 - xh * S2)),
        "grad.weight": fold.gather(gy * xh),
    }
    if "bias" in params:
        values["grad.bias"] = fold.gather(gy)
    if state:
        mu, n = reference.real(reference.args["momentum"]), fold.elements
        values["buffer.running_mean"] = (1 - mu) * state["running_mean"].value + mu * m[:, 0]
        values["buffer.running_var"] = (1 - mu) * state["running_var"].value + mu * v[:, 0] * n / (n - 1)
    return values


def seconds(function):
    """The fastest of many runs, within about a tenth of a second."""
    best, until = float("inf"), perf_counter() + 0.1
    while perf_counter() < until:
        start = perf_counter()
        function()
        best = min(best, perf_counter() - start)
    return best


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_the_error_scales_cost(case_of, name, dtype, record_property):
    op, shape, arguments = LAYERS[name]
    case = case_of(op, shape, dtype, data="scaled", **arguments)
    inputs, reference = make_inputs(case), build_reference(case)
    step, state = inputs.steps[0], reference.initial(inputs.buffers)
    batch = step.x, step.grad_output, inputs.params, state
    values, found = plain(reference, *batch), reference.step(*batch, "train").quantities
    for quantity, value in values.items():
        np.testing.assert_allclose(np.float64(value), np.float64(found[quantity].value), rtol=1e-9, atol=1e-12)
    alone, both = seconds(lambda: plain(reference, *batch)), seconds(lambda: reference.step(*batch, "train"))
    record_property("with_scales_over_plain", both / alone)
    print(f"{name:24} {dtype:8} {1e6 * alone:8.0f} us {1e6 * both:8.0f} us {both / alone:5.2f} x")  # noqa: T201 - what this is run for
