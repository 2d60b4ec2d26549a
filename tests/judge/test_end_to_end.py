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
from conformance.judge.end_to_end import DRAWS, Chain, Disturbance, judge_end_to_end
from conformance.judge.local import judge_locally
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


def opened(module, x, grad_output, mode):
    """The chain of references that a network should be, and what the network shows from outside."""
    calls = capture(module, x, grad_output, mode)
    links = []
    got = {"output": calls[-1].arrays["output"], "grad_input": calls[0].arrays["grad_input"]}
    for place, call in enumerate(calls):
        home, name = call.reference.split(":")
        dtype = call.x.dtype.name
        reference = getattr(import_module(home), name)(call.args, dtype, dtype, precision(dtype))
        links.append((reference, call.params, call.buffers))
        for quantity, array in call.arrays.items():
            kind, _, rest = quantity.partition(".")
            if rest:
                got[f"{kind}.{place}.{rest}"] = array
    return Chain(links), got


def judged(module, dtype, mode="train", seed=0):
    x, grad_output = batch(dtype, seed)
    chain, got = opened(module, x, grad_output, mode)
    return judge_end_to_end(chain, x, grad_output, mode, got=got, key=f"net-{seed}")


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_correct_network_raises_no_alarm(dtype, mode):
    for seed in range(6):
        judgement = judged(network(dtype, seed), dtype, mode, seed)
        assert judgement.ok, judgement.figures[0]
        assert {"output", "grad_input", "grad.3.bias", "buffer.0.running_var"} <= judgement.power.keys()


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
    judgement = judged(network("float32", **planted), "float32")
    assert not judgement.ok
    assert quantity in {figure.quantity for figure in judgement.figures if not figure.ok}


def test_a_fault_that_the_next_layer_undoes_is_seen_locally_alone():
    module = network("float32", group=UnbiasedVariance(2, 6))  # an instance norm removes the scale that is wrong
    assert judged(module, "float32").ok
    worst = judge_locally(capture(module, *batch("float32"), "train"))[0]
    assert (worst.name, worst.outcome) == ("1", "fail")


def test_the_worst_quantity_comes_first_and_names_its_slice():
    module = network("float32")
    x, grad_output = batch("float32")
    chain, got = opened(module, x, grad_output, "train")
    got["output"][2] += 1
    figure = judge_end_to_end(chain, x, grad_output, "train", got=got, key="k").figures[0]
    assert (figure.quantity, figure.index, figure.exceeding, figure.size) == ("output", (2,), 1, 4)
    assert figure.error == pytest.approx(np.sqrt(90), rel=1e-3)


def test_what_can_be_seen_is_said_in_words_the_blindest_first():
    judgement = judged(network("float32"), "float32")
    words = judgement.in_words()
    # a bias before an instance norm has no gradient: what is computed there is rounding alone
    assert any(line.startswith("grad.1.bias: blind, the allowed error is") for line in words)
    assert words[-1].endswith("of the signal passes unseen")
    assert judgement.power["output"] < 1e-3


def test_less_is_seen_in_bfloat16_than_in_float32():
    narrow, wide = (
        judge_end_to_end(*_layer_norm(dtype), "train", got=_zeros(dtype), key="k") for dtype in ("bfloat16", "float32")
    )
    assert narrow.power["output"] > 100 * wide.power["output"]


def _layer_norm(dtype, layers=2):
    args = {"normalized_shape": [5], "eps": 1e-5, "elementwise_affine": False, "bias": True}
    reference = import_module("references.layer_norm").LayerNorm(args, dtype, dtype, precision(dtype))
    return Chain([(reference, {}, {})] * layers), *batch(dtype)


def _zeros(dtype):
    return {"output": stored(np.zeros(SHAPE), dtype)}


def test_the_same_key_gives_the_same_judgement():
    first, second = (judged(network("float32"), "float32") for _ in range(2))
    assert first == second


def test_another_key_gives_other_draws():
    chain, x, grad_output = _layer_norm("float32")
    one, two = (chain.evaluate(x, grad_output, "train", Disturbance(key))["output"].value for key in ("a", "b"))
    assert (one != two).all()


def test_an_operation_is_disturbed_by_no_more_than_it_may_err_itself():
    chain, x, grad_output = _layer_norm("float32", layers=1)
    exact = chain.evaluate(x, grad_output, "train")["output"]
    draws = [chain.evaluate(x, grad_output, "train", Disturbance(f"{n}"))["output"].value for n in range(DRAWS)]
    moved = np.max([np.abs(draw - exact.value) for draw in draws], axis=0)
    # one draw of its own and one of the slice, each of half the scale: the scale holds K = 2
    limit = exact.scale + 2.0**-24 * np.abs(exact.value) + 2.0**-149
    assert (moved > limit / 100).all()
    assert (moved <= limit).all()


def test_a_wrong_shape_and_a_wrong_dtype_fail_in_words():
    chain, x, grad_output = _layer_norm("float32")
    for wrong, words in ((x[:2], "shape [2, 6, 3, 5]"), (x.astype(np.float64), "dtype float64")):
        (figure,) = judge_end_to_end(chain, x, grad_output, "train", got={"output": wrong}, key="k").figures
        assert (figure.ok, figure.got) == (False, words)


def test_a_nan_fails():
    chain, x, grad_output = _layer_norm("float32")
    got = chain.evaluate(x, grad_output, "train")["output"].value.astype(np.float32)
    assert judge_end_to_end(chain, x, grad_output, "train", got={"output": got}, key="k").ok
    got[1, 0, 0, 0] = np.nan
    (figure,) = judge_end_to_end(chain, x, grad_output, "train", got={"output": got}, key="k").figures
    assert (figure.ok, figure.budget, figure.index) == (False, None, (1,))


def test_a_count_is_compared_exactly():
    module = network("float32")
    x, grad_output = batch("float32")
    chain, got = opened(module, x, grad_output, "train")
    got["buffer.0.num_batches_tracked"] = np.array(2)
    judgement = judge_end_to_end(chain, x, grad_output, "train", got=got, key="k")
    bad = [figure for figure in judgement.figures if not figure.ok]
    assert [(f.quantity, f.got, f.expected) for f in bad] == [("buffer.0.num_batches_tracked", "2", "1")]


def test_an_undetermined_network_promises_nothing():
    chain, x, grad_output = _layer_norm("float32")
    constant = np.full_like(x, 1e7)
    got = {"grad_input": np.ones_like(x)}
    judgement = judge_end_to_end(chain, constant, grad_output, "train", got=got, key="k")
    assert judgement.ok
    assert judgement.figures[0].undetermined == 1
    assert judgement.in_words() == ("grad_input: blind, the allowed error is inf of the signal",)
