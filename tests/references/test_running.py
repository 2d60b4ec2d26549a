"""Running statistics: what moves them, and how much error they carry on."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.judge.compare import compare
from conformance.reference import build_reference
from references.expected import Quantity, run
from references.rounding import FORMATS, precision

TRACKED = {
    "BatchNorm1d": ((6, 3), {}),
    "BatchNorm2d": ((3, 4, 2, 3), {"momentum": 0.3}),
    "InstanceNorm2d": ((3, 2, 2, 3), {"affine": True, "track_running_stats": True}),
}


def expect(case):
    inputs = make_inputs(case)
    batches = [(step.x, step.grad_output) for step in inputs.steps]
    return run(build_reference(case), batches, inputs.params, inputs.buffers, case.steps), inputs


def stored_error(quantity):
    stored = FORMATS[quantity.stored]
    return quantity.scale + stored.u * np.abs(quantity.value) + stored.eta


def test_one_step_by_hand(case_of):
    """x = 1, 2, 6: mean 3, unbiased variance 7, biased 14/3."""
    case = case_of("BatchNorm1d", (3, 1), "float64", momentum=0.25, eps=0.0, affine=False)
    reference = build_reference(case)
    before = {"running_mean": [1.0], "running_var": [2.0], "num_batches_tracked": 4}
    state = reference.initial({k: np.array(v, np.int64 if k[0] == "n" else np.float64) for k, v in before.items()})
    found = reference.step(np.array([[1.0], [2.0], [6.0]]), np.ones((3, 1)), {}, state, "train").quantities
    assert float(found["buffer.running_mean"].value[0]) == pytest.approx(0.75 * 1 + 0.25 * 3, rel=1e-15)
    assert float(found["buffer.running_var"].value[0]) == pytest.approx(0.75 * 2 + 0.25 * 7, rel=1e-15)
    assert int(found["buffer.num_batches_tracked"].value) == 5
    np.testing.assert_allclose(found["output"].value[:, 0].astype(float), np.array([-2, -1, 3]) / np.sqrt(14 / 3))


def test_without_momentum_the_buffers_are_the_averages_of_all_batches(case_of):
    steps = ("train",) * 5
    case = case_of("BatchNorm1d", (6, 3), "float32", momentum=None, steps=steps, buffers="default", data="scaled")
    results, inputs = expect(case)
    batches = [step.x.astype(np.float64) for step in inputs.steps]
    mean = np.mean([x.mean(axis=0) for x in batches], axis=0)
    variance = np.mean([x.var(axis=0, ddof=1) for x in batches], axis=0)
    np.testing.assert_allclose(results[-1].state["running_mean"].value, mean, rtol=1e-12)
    np.testing.assert_allclose(results[-1].state["running_var"].value, variance, rtol=1e-12)


def test_instance_norm_averages_over_the_batch_and_never_counts(case_of):
    case = case_of("InstanceNorm1d", (4, 3, 5), "float32", track_running_stats=True, momentum=1.0, data="scaled")
    (result,), inputs = expect(case)
    x = inputs.steps[0].x.astype(np.float64)
    np.testing.assert_allclose(result.state["running_mean"].value, x.mean(axis=2).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.state["running_var"].value, x.var(axis=2, ddof=1).mean(axis=0), rtol=1e-12)
    assert result.state["num_batches_tracked"].value == inputs.buffers["num_batches_tracked"]


@pytest.mark.parametrize("op", TRACKED)
def test_eval_mode_leaves_the_buffers_alone(case_of, op):
    shape, arguments = TRACKED[op]
    (result,), inputs = expect(case_of(op, shape, "float32", steps=("eval",), **arguments))
    for name, buffer in inputs.buffers.items():
        np.testing.assert_array_equal(result.state[name].value, buffer)
        assert (result.state[name].scale == 0).all()


@pytest.mark.parametrize("op", ["BatchNorm1d", "InstanceNorm1d"])
def test_without_running_statistics_eval_mode_is_train_mode(case_of, op):
    case = case_of(op, (4, 3, 5), "float32", steps=("train", "eval"), track_running_stats=False)
    inputs, reference = make_inputs(case), build_reference(case)
    step = inputs.steps[0]
    both = [reference.step(step.x, step.grad_output, inputs.params, {}, mode) for mode in case.steps]
    assert both[0].quantities.keys() == both[1].quantities.keys()
    assert not [name for name in both[0].quantities if name.startswith("buffer")]
    for name, quantity in both[0].quantities.items():
        np.testing.assert_array_equal(quantity.value, both[1].quantities[name].value)
        np.testing.assert_array_equal(quantity.scale, both[1].quantities[name].scale)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("op", TRACKED)
def test_the_carried_error_is_what_is_kept_of_the_old_and_what_this_step_adds(case_of, op, dtype):
    """acc_k = (1 - momentum) acc_{k-1} + d_k, where d_k is the error of a step from exact buffers."""
    shape, arguments = TRACKED[op]
    steps = ("train",) * 6
    case = case_of(op, shape, dtype, data="scaled", steps=steps, **arguments)
    results, inputs = expect(case)
    reference, kept = build_reference(case), 1 - case.args["momentum"]
    state = reference.initial(inputs.buffers)
    for k, step in enumerate(inputs.steps):
        exact = {name: Quantity(q.value, np.zeros_like(q.scale), q.stored) for name, q in state.items()}
        alone = reference.step(step.x, step.grad_output, inputs.params, exact, "train")
        for name in ("running_mean", "running_var"):
            carried = stored_error(results[k - 1].quantities[f"buffer.{name}"]) if k else 0.0
            own, found = alone.quantities[f"buffer.{name}"], results[k].quantities[f"buffer.{name}"]
            np.testing.assert_array_equal(own.value, found.value)
            np.testing.assert_allclose(found.scale, own.scale + kept * carried, rtol=1e-12)
            assert k == 0 or (found.scale > own.scale).all()
        state = results[k].state


@pytest.mark.parametrize("op", TRACKED)
def test_an_eval_step_after_training_allows_for_what_the_buffers_carry(case_of, op):
    shape, arguments = TRACKED[op]
    case = case_of(op, shape, "bfloat16", data="scaled", steps=("train", "train", "eval"), **arguments)
    results, inputs = expect(case)
    reference, step = build_reference(case), inputs.steps[2]
    carried = results[1].state
    exact = {name: Quantity(q.value, np.zeros_like(q.scale), q.stored) for name, q in carried.items()}
    free, forced = results[2], reference.step(step.x, step.grad_output, inputs.params, exact, "eval")
    np.testing.assert_array_equal(free.quantities["output"].value, forced.quantities["output"].value)
    assert (free.quantities["output"].scale > 10 * forced.quantities["output"].scale).all()


def test_a_layer_that_stores_its_buffers_rounded_stays_within_what_an_eval_step_allows(case_of):
    """Buffers rounded to bfloat16 after every step, everything else exact."""
    steps = ("train", "train", "train", "eval")
    case = case_of("BatchNorm1d", (6, 3), "bfloat16", data="scaled", steps=steps)
    results, inputs = expect(case)
    reference = build_reference(case)
    state = reference.initial(inputs.buffers)
    for step, mode, free in zip(inputs.steps, steps, results, strict=True):
        alone = reference.step(step.x, step.grad_output, inputs.params, state, mode)
        rounded = {
            name: q.value if q.stored == "int64" else q.value.astype(inputs.buffers[name].dtype)
            for name, q in alone.state.items()
        }
        state = reference.initial({name: np.asarray(value) for name, value in rounded.items()})
        for name in ("output", "grad_input"):
            error = np.abs(alone.quantities[name].value - free.quantities[name].value)
            assert (error <= free.quantities[name].scale).all()
        for name in ("running_mean", "running_var"):
            error = np.abs(state[name].value - free.quantities[f"buffer.{name}"].value)
            assert (error <= stored_error(free.quantities[f"buffer.{name}"])).all()


def test_a_channel_out_of_range_is_lost_from_the_buffers_and_the_others_are_not(case_of):
    case = case_of("BatchNorm1d", (6, 3), "float32", data="normal")
    inputs, reference = make_inputs(case), build_reference(case)
    x = inputs.steps[0].x * np.array([1, 1e25, 1], np.float32)
    state = reference.initial(inputs.buffers)
    found = reference.step(x, inputs.steps[0].grad_output, inputs.params, state, "train").quantities
    for name in ("buffer.running_mean", "buffer.running_var"):
        np.testing.assert_array_equal(found[name].undetermined, [False, True, False])
        np.testing.assert_array_equal(np.isinf(found[name].scale), [False, True, False])


def test_a_channel_out_of_range_in_one_sample_is_lost_from_buffers_that_average_over_samples(case_of):
    case = case_of("InstanceNorm2d", (3, 2, 2, 3), "float32", track_running_stats=True)
    inputs, reference = make_inputs(case), build_reference(case)
    x = inputs.steps[0].x.copy()
    x[2, 1] *= np.float32(1e25)
    state = reference.initial(inputs.buffers)
    found = reference.step(x, inputs.steps[0].grad_output, inputs.params, state, "train").quantities
    for name in ("buffer.running_mean", "buffer.running_var"):
        np.testing.assert_array_equal(found[name].undetermined, [False, True])
        np.testing.assert_array_equal(np.isinf(found[name].scale), [False, True])


def test_a_buffer_that_may_have_overflowed_promises_nothing_from_then_on(case_of):
    case = case_of("BatchNorm1d", (6, 3), "float16", data="normal", steps=("train", "train", "eval"), momentum=1.0)
    inputs, reference = make_inputs(case), build_reference(case)
    far = inputs.steps[0].x.astype(np.float64) * np.array([1, 600, 1])  # the variance of channel 1 exceeds 65504
    state = reference.initial(inputs.buffers)
    batches = [far.astype(np.float16), inputs.steps[1].x, inputs.steps[2].x]
    results = []
    for x, step, mode in zip(batches, inputs.steps, case.steps, strict=True):
        results.append(reference.step(x, step.grad_output, inputs.params, state, mode))
        state = results[-1].state
    assert np.isfinite(results[0].quantities["buffer.running_var"].scale).all()
    for later in results[1:]:
        np.testing.assert_array_equal(np.isinf(later.quantities["buffer.running_var"].scale), [False, True, False])
    unknown = results[2].quantities["output"].undetermined
    np.testing.assert_array_equal(unknown.all(axis=0), [False, True, False])
    np.testing.assert_array_equal(unknown.any(axis=0), [False, True, False])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_with_constant_statistics_a_nan_stays_at_its_element(case_of, bad):
    case = case_of("BatchNorm1d", (6, 3), "float32", steps=("eval",))
    inputs, reference = make_inputs(case), build_reference(case)
    x = inputs.steps[0].x.copy()
    x[2, 1] = bad
    state = reference.initial(inputs.buffers)
    found = reference.step(x, inputs.steps[0].grad_output, inputs.params, state, "eval").quantities
    expected = np.zeros((6, 3), bool)
    expected[2, 1] = True
    np.testing.assert_array_equal(~np.isfinite(found["output"].value), expected)
    assert np.isfinite(found["grad_input"].value).all(), "the gradient does not depend on x"
    np.testing.assert_array_equal(np.isfinite(found["grad.weight"].value), [True, False, True])
    clean = reference.step(inputs.steps[0].x, inputs.steps[0].grad_output, inputs.params, state, "eval").quantities
    np.testing.assert_array_equal(found["grad_input"].scale, clean["grad_input"].scale)
    assert np.isfinite(found["grad.weight"].scale).all(), "what is NaN or infinite is asked for, not let off"


@pytest.mark.parametrize("returned", [0.0, 1e38, np.nan, "the other infinity"])
@pytest.mark.parametrize("op", TRACKED)
def test_with_constant_statistics_an_infinity_must_come_out_as_one(case_of, op, returned):
    shape, arguments = TRACKED[op]
    case = case_of(op, shape, "float32", steps=("eval",), **arguments)
    inputs, reference = make_inputs(case), build_reference(case)
    x = inputs.steps[0].x.copy()
    x.flat[4] = np.inf
    expected = reference.step(x, inputs.steps[0].grad_output, inputs.params, reference.initial(inputs.buffers), "eval")
    output = expected.quantities["output"]
    right = output.value.astype(np.float32)
    assert np.isinf(right.flat[4])
    assert compare("output", output, right, 0, expected, "A", None).ok
    wrong = right.copy()
    wrong.flat[4] = -right.flat[4] if returned == "the other infinity" else returned
    figure = compare("output", output, wrong, 0, expected, "A", None)
    assert not figure.ok
    assert np.ravel_multi_index(figure.index, shape) == 4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_buffer_is_carried_on_with_its_rounding_on_store_whatever_its_sign(case_of, dtype):
    case = case_of("BatchNorm1d", (6, 3), dtype, data="scaled")
    inputs, reference = make_inputs(case), build_reference(case)
    before = {name: -buffer if name == "running_mean" else buffer for name, buffer in inputs.buffers.items()}
    state = reference.initial({name: np.asarray(buffer) for name, buffer in before.items()})
    x = (inputs.steps[0].x.astype(np.float64) - [0, 100, 0]).astype(inputs.steps[0].x.dtype)
    result = reference.step(x, inputs.steps[0].grad_output, inputs.params, state, "train")
    found = result.quantities["buffer.running_mean"]
    assert (found.value < 0).any()
    np.testing.assert_allclose(result.state["running_mean"].scale, stored_error(found), rtol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_mean_that_may_have_overflowed_promises_nothing_from_then_on(case_of, sign):
    case = case_of("BatchNorm1d", (2, 1), "float16", momentum=1.0, affine=False)
    inputs, reference = make_inputs(case), build_reference(case)
    for size, known in ((65000.0, True), (65504.0, False)):
        x = np.full((2, 1), sign * size).astype(np.float16)
        state = reference.initial(inputs.buffers)
        after = reference.step(x, np.ones_like(x), {}, state, "train").state["running_mean"]
        assert np.isfinite(after.scale).all() == known


@pytest.mark.parametrize("label", ["A", "B"])
@pytest.mark.parametrize("op", TRACKED)
def test_the_error_of_one_update_is_that_of_the_model(case_of, op, label):
    """d(rm) = mu d(m) + U (2 |rm| + 3 mu |m| + |rm'|); 4 instead of 3 for the variance; averaging over samples adds."""
    shape, arguments = TRACKED[op]
    case = case_of(op, shape, "float16", data="scaled", **arguments)
    inputs, reference, p = make_inputs(case), build_reference(case, label), precision("float16", label)
    (step,), mu, old = inputs.steps, case.args["momentum"], inputs.buffers
    after = reference.step(step.x, step.grad_output, inputs.params, reference.initial(old), "train").quantities
    x = step.x.astype(np.float64)
    axes = tuple(range(2, x.ndim)) if op == "InstanceNorm2d" else (0, *range(2, x.ndim))
    m = x.mean(axis=axes, keepdims=True)
    xc, n = x - m, x.size // m.size
    v = (xc * xc).mean(axis=axes, keepdims=True)
    A, U = p.A(n), p.U
    dm = U * (A * np.abs(x).mean(axis=axes, keepdims=True) + np.abs(m)) + p.t
    dv = U * ((A + 2) * v + 2 * A * (np.abs(xc) * (np.abs(x) + np.abs(m))).mean(axis=axes, keepdims=True)) + dm**2 + p.t
    unbiased, samples = n / (n - 1), m.shape[0]

    def expected(name, new, d, magnitude, roundings):
        new, d, magnitude = (values.reshape(samples, -1).mean(axis=0) for values in (new, d, magnitude))
        before = old[name].astype(np.float64)
        moved = (1 - mu) * before + mu * new
        error = mu * d + U * (2 * np.abs(before) + roundings * mu * magnitude + np.abs(moved))
        averaged = U * (p.A(samples) + 2) * ((1 - mu) * np.abs(before) + mu * magnitude)
        return error + (averaged if samples > 1 else 0)

    found = {name: after[f"buffer.{name}"].scale for name in ("running_mean", "running_var")}
    np.testing.assert_allclose(found["running_mean"], expected("running_mean", m, dm, np.abs(m), 3), rtol=1e-9)
    v, dv = unbiased * v, unbiased * dv
    np.testing.assert_allclose(found["running_var"], expected("running_var", v, dv, v, 4), rtol=1e-9)
