"""The error scales, written down once more: one slice, one formula a line, plain Python numbers."""

from __future__ import annotations

from math import expm1, log1p, sqrt

import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.reference import build_reference
from references.expected import Quantity
from references.rounding import precision

RULES = [("float32", "A"), ("bfloat16", "A"), ("float16", "A"), ("bfloat16", "B"), ("float16", "B")]


def mean(terms):
    return sum(terms) / len(terms)


def scales_of_slice(x, gy, w, b, eps, p, *, centred=True, running=None):
    """d(y), d(gx), the terms of d(gw) and d(gb), and h of one slice; running = (m, v, error of m, error of v)."""
    n, K = len(x), p.K
    U, t, A = K * p.compute.u, p.t, p.A(n)
    if running:
        m, v, dm, dv = running
        xc = [xi - m for xi in x]
        dm, dv = dm + U * abs(m), dv + U * v
    elif centred:
        m = mean(x)
        xc = [xi - m for xi in x]
        v = mean([c * c for c in xc])
        dm = U * (A * mean([abs(xi) for xi in x]) + abs(m)) + t
        cancelling = mean([abs(c) * (abs(xi) + abs(m)) for c, xi in zip(xc, x, strict=True)])
        dv = U * ((A + 2) * v + 2 * A * cancelling) + dm * dm + t
    else:
        m, xc, v = 0.0, x, mean([xi * xi for xi in x])
        dm, dv = 0.0, U * (A + 2) * v + t
    q = v + eps
    s = 1 / sqrt(q)
    h = (dv + U * q) / q
    rho = expm1(-0.5 * log1p(-h)) + 2 * U
    xh = [s * c for c in xc]
    shifted = centred or running
    dc = [dm + U * (abs(xi) + abs(m) + abs(c)) if shifted else 0.0 for xi, c in zip(x, xc, strict=True)]
    sigma = [s * (abs(xi) + abs(m)) if shifted else 0.0 for xi in x]
    dxh = [s * d * (1 + rho) + abs(h_) * (rho + 2 * U) + t for d, h_ in zip(dc, xh, strict=True)]
    g = [gi * wi for gi, wi in zip(gy, w, strict=True)]
    S1 = mean(g) if centred else 0.0
    S2 = mean([gi * hi for gi, hi in zip(g, xh, strict=True)])
    dS1 = U * (A * mean([abs(gi) for gi in g]) + abs(S1)) + t if centred else 0.0
    dS2 = U * (A * mean([abs(g[i]) * (abs(xh[i]) + sigma[i]) for i in range(n)]) + abs(S2))
    dS2 += mean([abs(g[i]) * s * dc[i] for i in range(n)]) + t
    dy, dgx, dgw, dgb = [], [], [], []
    for i in range(n):
        y = w[i] * xh[i] + b[i]
        dy.append(abs(w[i]) * dxh[i] + U * (2 * abs(w[i] * xh[i]) + abs(b[i]) + abs(y)) + t)
        if running:
            gx = s * g[i]
            dgx.append(abs(gx) * (rho + 3 * U) + s * t + t)
        else:
            gx = s * (g[i] - S1 - xh[i] * S2)
            br = U * (2 * abs(g[i]) + abs(S1) + (2 * abs(xh[i]) + sigma[i]) * (abs(S2) + dS2))
            br += dS1 + abs(xh[i]) * dS2 + s * dc[i] * (abs(S2) + dS2) + t
            spread = rho * s * (abs(g[i] - S1) + 3 * abs(xh[i] * S2))
            dgx.append(s * (1 + rho) * br + spread + 2 * U * abs(gx) + t)
        dgw.append((U * abs(gy[i]) * (abs(xh[i]) + sigma[i]), abs(gy[i]) * dxh[i]))
        dgb.append(U * abs(gy[i]))
    return dy, dgx, dgw, dgb, h


def numbers(array):
    return [float(element) for element in array]


def close(found, expected):
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=1e-9)


@pytest.mark.parametrize(("dtype", "label"), RULES)
@pytest.mark.parametrize("data", ["scaled", "f1-eps", "f4-tail"])
@pytest.mark.parametrize("op", ["LayerNorm", "RMSNorm"])
def test_the_scales_of_rows_are_those_of_the_model(case_of, op, data, dtype, label):
    case = case_of(op, (3, 5), dtype, data=data, eps=1e-2)
    inputs, p = make_inputs(case), precision(dtype, label)
    (step,), params = inputs.steps, {name: numbers(value) for name, value in inputs.params.items()}
    reference = build_reference(case, label)
    found = reference.step(step.x, step.grad_output, inputs.params, {}, "train")
    bias = params.get("bias", [0.0] * 5)
    terms_w, terms_b = [], []
    for row in range(3):
        x, gy = numbers(step.x[row]), numbers(step.grad_output[row])
        dy, dgx, dgw, dgb, _ = scales_of_slice(x, gy, params["weight"], bias, 1e-2, p, centred=op == "LayerNorm")
        terms_w.append(dgw)
        terms_b.append(dgb)
        close(found.quantities["output"].scale[row], dy)
        close(found.quantities["grad_input"].scale[row], dgx)
    A = p.A(3)
    expected = [sum(A * row[i][0] + row[i][1] for row in terms_w) + 3 * p.t for i in range(5)]
    close(found.quantities["grad.weight"].scale, expected)
    if "bias" in params:
        close(found.quantities["grad.bias"].scale, [A * sum(row[i] for row in terms_b) + 3 * p.t for i in range(5)])


def test_the_scales_hold_up_to_the_border_where_half_of_the_variance_may_be_error(case_of):
    """Rows whose mean grows by 2 % from one to the next: h passes 1/2, and from there on they are undetermined."""
    case = case_of("LayerNorm", (300, 5), "float32")
    inputs, p = make_inputs(case), precision("float32")
    z, gy = inputs.steps[0].x[:1], inputs.steps[0].grad_output
    x = (z + 1.02 ** np.arange(300)[:, None] * 1000).astype(np.float32)
    found = build_reference(case).step(x, gy, inputs.params, {}, "train").quantities
    weight, bias = numbers(inputs.params["weight"]), numbers(inputs.params["bias"])
    seen = []
    for row in range(300):
        try:
            dy, dgx, _, _, h = scales_of_slice(numbers(x[row]), numbers(gy[row]), weight, bias, case.args["eps"], p)
        except ValueError:  # no logarithm beyond h = 1
            h = np.inf
        assert found["output"].undetermined[row].all() == found["grad_input"].undetermined[row].all() == (h >= 0.5)
        if h < 0.5:
            np.testing.assert_allclose(found["output"].scale[row], dy, rtol=1e-6)
            np.testing.assert_allclose(found["grad_input"].scale[row], dgx, rtol=1e-6)
        seen.append(h)
    assert min(seen) < 0.1
    assert any(0.45 < h < 0.5 for h in seen)
    assert any(0.5 <= h < 0.55 for h in seen)


@pytest.mark.parametrize(("dtype", "label"), RULES)
def test_the_scales_of_running_statistics_start_from_the_error_that_the_buffers_carry(case_of, dtype, label):
    case = case_of("BatchNorm1d", (6, 2), dtype, data="scaled", steps=("eval",))
    inputs, p = make_inputs(case), precision(dtype, label)
    (step,) = inputs.steps
    reference = build_reference(case, label)
    state = dict(reference.initial(inputs.buffers))
    for name, error in (("running_mean", 1e-3), ("running_var", 2e-3)):
        state[name] = Quantity(state[name].value, np.full(2, error), dtype)
    found = reference.step(step.x, step.grad_output, inputs.params, state, "eval").quantities
    for c in range(2):
        running = float(state["running_mean"].value[c]), float(state["running_var"].value[c]), 1e-3, 2e-3
        x, gy = numbers(step.x[:, c]), numbers(step.grad_output[:, c])
        w, b = [float(inputs.params["weight"][c])] * 6, [float(inputs.params["bias"][c])] * 6
        dy, dgx, dgw, dgb, _ = scales_of_slice(x, gy, w, b, case.args["eps"], p, running=running)
        close(found["output"].scale[:, c], dy)
        close(found["grad_input"].scale[:, c], dgx)
        close(found["grad.weight"].scale[c], sum(p.A(6) * u + d for u, d in dgw) + 6 * p.t)
        close(found["grad.bias"].scale[c], p.A(6) * sum(dgb) + 6 * p.t)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("op", ["BatchNorm2d", "LayerNorm", "RMSNorm", "GroupNorm", "LocalResponseNorm"])
def test_class_b_allows_more_than_class_a_everywhere(case_of, op, dtype):
    steps = ("train", "train", "eval")
    # at most 8 values in a slice: beyond, the mathematics of class B decides nothing in bfloat16
    arguments = {"GroupNorm": {"num_groups": 2}, "LayerNorm": {"normalized_shape": {"last": 2}}}.get(op, {})
    case = case_of(op, (2, 4, 2, 2), dtype, data="normal", steps=steps, **arguments)
    inputs = make_inputs(case)
    states = {label: build_reference(case, label).initial(inputs.buffers) for label in "AB"}
    for step, mode in zip(inputs.steps, steps, strict=True):
        both = {}
        for label in "AB":
            reference = build_reference(case, label)
            both[label] = reference.step(step.x, step.grad_output, inputs.params, states[label], mode)
            states[label] = both[label].state
        for name, wide in both["B"].quantities.items():
            narrow = both["A"].quantities[name]
            if narrow.stored == "int64":
                continue
            assert wide.undetermined is None
            np.testing.assert_array_equal(wide.value, narrow.value)
            trained = mode == "train" or not name.startswith("buffer")
            assert (wide.scale > narrow.scale).all() if trained else (wide.scale >= narrow.scale).all()


@pytest.mark.parametrize("op", ["BatchNorm2d", "LayerNorm", "RMSNorm", "InstanceNorm2d", "GroupNorm"])
def test_the_scale_of_a_stable_layer_grows_with_the_condition_number_and_not_with_its_square(case_of, op):
    """A variance from E[x^2] - E[x]^2 loses kappa^2; nothing that the definition says does."""
    worst = {}
    for data in ("shifted-1e1", "shifted-1e3"):
        case = case_of(op, (4, 4, 2, 4), "float32", data=data)
        inputs = make_inputs(case)
        (step,), reference = inputs.steps, build_reference(case)
        state = reference.initial(inputs.buffers)
        found = reference.step(step.x, step.grad_output, inputs.params, state, "train").quantities["output"]
        worst[data] = float(found.scale.max())
    assert worst["shifted-1e3"] / worst["shifted-1e1"] < (1 if op == "RMSNorm" else 100) * 3
