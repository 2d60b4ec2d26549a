"""Judging networks from outside: no alarm for correct ones, planted faults caught, blindness admitted."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from conformance.backends.capture import capture
from conformance.inputs import bits
from conformance.inputs.make import stored
from conformance.judge.end_to_end import DRAWS, Disturbance, allowed_norms, expected_steps, judge_step
from conformance.judge.local import judge_locally
from references.expected import Quantity
from references.network import INPUT, Network, Stage, undisturbed
from references.rounding import precision

SHAPE = (4, 6, 3, 5)


class UnbiasedVariance(nn.GroupNorm):
    def forward(self, x):
        grouped = x.reshape(x.shape[0], self.num_groups, -1)
        xh = (grouped - grouped.mean(-1, keepdim=True)) / torch.sqrt(grouped.var(-1, keepdim=True) + self.eps)
        return xh.reshape(x.shape) * self.weight[:, None, None] + self.bias[:, None, None]


class MissingBias(nn.InstanceNorm2d):
    def forward(self, x):
        return functional.instance_norm(x, weight=self.weight, eps=self.eps)


class WrongMomentum(nn.BatchNorm2d):
    def forward(self, x):
        self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, 1 - self.momentum, self.eps
        )


class LargeEps(nn.LayerNorm):
    def forward(self, x):
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, 1e-3)


def network(dtype, seed=0, **planted):
    modules = {
        "batch": nn.BatchNorm2d(6),
        "group": nn.GroupNorm(2, 6),
        "instance": nn.InstanceNorm2d(6, affine=True),
        "layer": nn.LayerNorm([6, 3, 5]),
    } | planted
    made = nn.Sequential(*modules.values())
    for name, parameter in made.named_parameters():
        drawn = bits.uniform(f"end-to-end/{seed}/{name}", tuple(parameter.shape))
        parameter.data.copy_(torch.from_numpy(0.5 + drawn))
    return made.to(getattr(torch, dtype))


def batch(dtype, seed=0):
    x = bits.normal(f"end-to-end/{seed}/x", SHAPE) + 0.5
    return stored(x, dtype), stored(1 + bits.normal(f"end-to-end/{seed}/g", SHAPE), dtype)


def network_of(references, dtype):
    """The reference of layers one after another, which are named by their places, as in torch.nn.Sequential."""
    names = [str(place) for place in range(len(references))]
    given = zip(names, [INPUT, *names], references, strict=False)
    return Network([Stage(name, name, (before,), layer) for name, before, layer in given], dtype, precision(dtype))


def opened(module, x, grad_output, mode):
    """What is expected of a network, and what it shows from outside."""
    calls = capture(module, x, grad_output, mode)
    references, params, buffers = [], {}, {}
    got = {"output": calls[-1].arrays["output"], "grad_input": calls[0].arrays["grad_input"]}
    for place, call in enumerate(calls):
        home, name = call.reference.split(":")
        dtype = call.x.dtype.name
        references.append(getattr(import_module(home), name)(call.args, dtype, dtype, precision(dtype)))
        params |= {f"{place}.{own}": array for own, array in call.params.items()}
        buffers |= {f"{place}.{own}": array for own, array in call.buffers.items()}
        for quantity, array in call.arrays.items():
            kind, _, rest = quantity.partition(".")
            if rest:
                got[f"{kind}.{place}.{rest}"] = array
    (expected,) = expected_steps(
        network_of(references, dtype), [(x, grad_output)], [mode], (params, buffers), f"net-{x[0, 0, 0, 0]}"
    )
    return expected, got


def judged(module, dtype, mode="train", seed=0):
    """The figures of what a network shows, by quantity."""
    expected, got = opened(module, *batch(dtype, seed), mode)
    shown = {name: quantity for name, quantity in expected.quantities.items() if name in got}
    return {name: judge_step(name, quantity, got[name], 0) for name, quantity in shown.items()}


def bad(figures):
    return {name for name, figure in figures.items() if not figure.ok}


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_correct_network_raises_no_alarm(dtype, mode):
    for seed in range(6):
        figures = judged(network(dtype, seed), dtype, mode, seed)
        assert not bad(figures), figures
        assert {"output", "grad_input", "grad.3.bias", "buffer.0.running_var"} <= figures.keys()


@pytest.mark.parametrize(
    ("planted", "quantity"),
    [
        ({"last": UnbiasedVariance(2, 6)}, "output"),
        ({"instance": MissingBias(6, affine=True)}, "output"),
        ({"batch": WrongMomentum(6)}, "buffer.0.running_mean"),
        ({"layer": LargeEps([6, 3, 5])}, "output"),
    ],
)
def test_a_planted_fault_is_caught_in_float32(planted, quantity):
    assert quantity in bad(judged(network("float32", **planted), "float32"))


def test_a_fault_that_the_next_layer_undoes_is_seen_locally_alone():
    module = network("float32", group=UnbiasedVariance(2, 6))  # an instance norm removes the scale that is wrong
    assert not bad(judged(module, "float32"))
    worst = judge_locally(capture(module, *batch("float32"), "train"))[0]
    assert (worst.name, worst.outcome) == ("1", "fail")


def test_the_worst_slice_is_named_with_its_error_beside_the_signal_and_the_allowance():
    expected, got = opened(network("float32"), *batch("float32"), "train")
    got["output"][2] += 1
    quantity = expected.quantities["output"]
    figure = judge_step("output", quantity, got["output"], 3)
    assert (figure.step, figure.index, figure.exceeding, figure.size) == (3, (2,), 1, 4)
    assert figure.error == pytest.approx(np.sqrt(90), rel=1e-3)
    assert figure.relative == pytest.approx(figure.error / np.linalg.norm(quantity.value[2].astype(np.float64)))
    assert figure.allowed == pytest.approx(quantity.scale[2, 0, 0, 0])
    assert figure.budget == pytest.approx(figure.error / figure.allowed)


@pytest.mark.parametrize(("share", "ok"), [(0.99, True), (1.01, False)])
def test_a_slice_may_use_all_of_its_allowance_and_no_more(share, ok):
    quantity = _layer_norm("float64").quantities["output"]
    got = quantity.value.astype(np.float64)
    got[1, 2, 0, 3] += share * float(quantity.scale[1, 2, 0, 3])
    figure = judge_step("output", quantity, got, 0)
    assert (figure.ok, figure.index) == (ok, (1,))
    assert figure.budget == pytest.approx(share, rel=1e-3)


def _exact(values, scale=0.0):
    value = np.asarray(values, np.float64)
    return Quantity(value, np.full(value.shape, scale), "float64")


def test_the_allowance_is_eight_times_the_rms_distance_of_the_draws():
    draws = [np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 1.0]])]
    allowed = allowed_norms("output", _exact(np.zeros((2, 2))), draws)
    assert allowed == pytest.approx([8 * 5 / np.sqrt(2), 8 * 1 / np.sqrt(2)])


@pytest.mark.parametrize(
    ("name", "slices"),
    [("output", 3), ("grad_input", 3), ("grad.0.weight", 3), ("grad.0.bias", 1), ("buffer.0.running_var", 1)],
)
def test_a_slice_is_a_sample_or_a_row_of_a_weight_and_a_bias_or_buffer_is_one(name, slices):
    figure = judge_step(name, _exact(np.ones((3, 2)), scale=1.0), np.ones((3, 2)), 0)
    assert (figure.size, figure.ok) == (slices, True)


def test_errors_near_the_end_of_the_range_are_measured_without_overflow():
    far, wide = np.full((1, 4), 1e300), 2.1e300
    assert judge_step("output", _exact(np.zeros((1, 4)), scale=wide), far, 0).ok
    assert not judge_step("output", _exact(np.zeros((1, 4)), scale=1.9e300), far, 0).ok


def test_what_is_empty_agrees():
    figure = judge_step("output", _exact(np.zeros((0, 4))), np.zeros((0, 4)), 0)
    assert (figure.ok, figure.budget) == (True, 0.0)


def test_where_no_draw_moves_no_error_is_allowed():
    still = _exact(np.ones((2, 3)))
    assert judge_step("output", still, np.ones((2, 3)), 0).ok
    figure = judge_step("output", still, np.add(np.ones((2, 3)), [[0.0], [1e-15]]), 0)
    assert (figure.ok, figure.budget, figure.index) == (False, None, (1,))


def test_less_is_seen_in_bfloat16_than_in_float32():
    narrow, wide = (np.max(_layer_norm(dtype).quantities["output"].scale) for dtype in ("bfloat16", "float32"))
    assert narrow > 100 * wide


def _layers(dtype, layers):
    args = {"normalized_shape": [5], "eps": 1e-5, "elementwise_affine": False, "bias": True}
    reference = import_module("references.layer_norm").LayerNorm(args, dtype, dtype, precision(dtype))
    return network_of([reference] * layers, dtype)


def _layer_norm(dtype, key="k", x=None):
    given, grad_output = batch(dtype)
    steps = [(given if x is None else x, grad_output)]
    (expected,) = expected_steps(_layers(dtype, 2), steps, ["train"], ({}, {}), key)
    return expected


def test_the_same_key_gives_the_same_allowance_and_another_key_another():
    one, again, other = (_layer_norm("float32", key).quantities["output"] for key in ("a", "a", "b"))
    assert (one.scale == again.scale).all()
    assert (one.scale != other.scale).all()
    assert (one.value == other.value).all()  # the definition itself is not disturbed


def test_an_operation_is_disturbed_by_no_more_than_it_may_err_itself():
    made, (x, grad_output) = _layers("float32", 1), batch("float32")

    def output(disturb):
        return made.evaluate(x, grad_output, {}, {}, "train", disturb).quantities["output"]

    exact = output(undisturbed)
    draws = [output(Disturbance(f"{n}", made.precision).put_in).value for n in range(DRAWS)]
    moved = np.max([np.abs(draw - exact.value) for draw in draws], axis=0)
    # one draw of its own and one of the slice, each of half the scale: the scale holds K = 2
    limit = exact.scale + 2.0**-24 * np.abs(exact.value) + 2.0**-149
    assert (moved > limit / 100).all()
    assert (moved <= limit).all()


def test_the_gradient_of_a_parameter_is_disturbed_by_its_rounding_and_eight_roundings_of_the_largest():
    value = np.array([1e-3, -1.0, 100.0, -100.0] * 50)
    quantity = Quantity(value, np.full(200, 1e9), "float32")  # the error scale has no part in it
    moved = np.abs(
        [
            Disturbance(f"{n}", precision("float32")).of(quantity, "a:grad.w", precision("float32"), None)
            for n in range(9)
        ]
    )
    limit = 2.0**-24 * np.abs(value) + 2.0**-149 + 8 * 2.0**-24 * 100
    assert (moved <= limit).all()
    assert (moved.max(axis=0) > limit / 10).all()


def test_the_share_of_slices_for_which_nothing_is_promised_is_told():
    scale = np.array([[np.inf, np.inf], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    quantity = Quantity(np.full((4, 2), -3.0), scale, "float64")
    figure = judge_step("output", quantity, np.full((4, 2), -3.0), 0)
    assert (figure.ok, figure.undetermined, figure.relative) == (True, 0.25, 0)
    assert judge_step("output", quantity, np.where(scale > 1, 99.0, -3.0), 0).ok


def test_an_error_beside_a_signal_of_zero_has_no_relative_size():
    assert judge_step("output", _exact(np.zeros((1, 2)), scale=1.0), np.ones((1, 2)), 0).relative is None


def test_what_comes_later_is_disturbed_by_the_steps_before():
    module = network("float32").train()
    expected = []
    for repeated in (1, 3):
        calls = capture(module, *batch("float32"), "train")[:1]
        home, name = calls[0].reference.split(":")
        layer = getattr(import_module(home), name)(calls[0].args, "float32", "float32", precision("float32"))
        state = ({f"0.{k}": v for k, v in calls[0].params.items()}, {f"0.{k}": v for k, v in calls[0].buffers.items()})
        expected.append(
            expected_steps(
                network_of([layer], "float32"), [batch("float32")] * repeated, ["train"] * repeated, state, "k"
            )
        )
    (once,), (first, _, last) = expected
    assert (once.quantities["output"].scale == first.quantities["output"].scale).all()
    assert last.quantities["buffer.0.running_mean"].scale.max() > first.quantities["buffer.0.running_mean"].scale.max()


def test_a_wrong_shape_and_a_wrong_dtype_fail_in_words():
    x, _ = batch("float32")
    quantity = _layer_norm("float32").quantities["output"]
    for wrong, words in ((x[:2], "shape [2, 6, 3, 5]"), (x.astype(np.float64), "dtype float64")):
        figure = judge_step("output", quantity, wrong, 0)
        assert (figure.ok, figure.got) == (False, words)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_fails(value):
    quantity = _layer_norm("float32").quantities["output"]
    got = quantity.value.astype(np.float32)
    assert judge_step("output", quantity, got, 0).ok
    got[1, 0, 0, 0] = value
    figure = judge_step("output", quantity, got, 0)
    assert (figure.ok, figure.budget, figure.index) == (False, None, (1,))


def test_a_count_is_compared_exactly():
    expected, _ = opened(network("float32"), *batch("float32"), "train")
    name = "buffer.0.num_batches_tracked"
    right, wrong = (judge_step(name, expected.quantities[name], np.array(count), 0) for count in (1, 2))
    assert (right.ok, wrong.ok, wrong.got, wrong.expected) == (True, False, "2", "1")


def test_an_undetermined_network_promises_nothing():
    x, _ = batch("float32")
    quantity = _layer_norm("float32", x=np.full_like(x, 1e7)).quantities["grad_input"]
    figure = judge_step("grad_input", quantity, np.ones_like(x), 0)
    assert (figure.ok, figure.undetermined, figure.allowed) == (True, 1, None)
