"""Judging whole networks call by call: real torch networks agree, and a planted fault names its module."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from conformance.captured import Captured
from conformance.inputs import bits
from conformance.inputs.make import stored
from conformance.judge.local import call_figures, judge_calls, judge_locally
from conformance.teacher_forced import judge_module_locally
from references.layer_norm import LayerNorm
from references.rounding import precision

SHAPE = (4, 6, 2, 3)
NAMES = ("first", "group", "instance", "layer", "rms", "last")


class UnbiasedVariance(nn.InstanceNorm2d):
    def forward(self, x):
        xc = x.float() - x.float().mean((2, 3), keepdim=True)
        y = xc / torch.sqrt(x.float().var((2, 3), keepdim=True, unbiased=True) + self.eps)
        y = y * self.weight.float()[:, None, None] + self.bias.float()[:, None, None]
        return y.to(x.dtype)


class MissingBias(nn.LayerNorm):
    def forward(self, x):
        return functional.layer_norm(x, self.normalized_shape, self.weight, None, self.eps)


class LargeEps(nn.BatchNorm2d):
    def forward(self, x):
        training = self.training
        if training:
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training, self.momentum, 1e-3
        )


class WrongMomentum(nn.BatchNorm2d):
    def forward(self, x):
        self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, 1 - self.momentum, self.eps
        )


class DetachedMean(nn.GroupNorm):
    def forward(self, x):
        grouped = x.float().reshape(x.shape[0], self.num_groups, -1)
        xc = grouped - grouped.mean(-1, keepdim=True).detach()
        xh = xc / torch.sqrt((xc * xc).mean(-1, keepdim=True) + self.eps)
        y = xh.reshape(x.shape) * self.weight.float()[:, None, None] + self.bias.float()[:, None, None]
        return y.to(x.dtype)


class CutOff(nn.RMSNorm):
    def forward(self, x):
        return super().forward(x).detach()


class Forgetful(nn.BatchNorm2d):
    def forward(self, x):
        return functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


PLANTED = {
    "unbiased variance": ("instance", lambda: UnbiasedVariance(6, affine=True, track_running_stats=False), "output"),
    "missing bias": ("layer", lambda: MissingBias([6, 2, 3]), "grad.bias"),
    "eps 1e-3": ("first", lambda: LargeEps(6), "output"),
    "wrong momentum": ("last", lambda: WrongMomentum(6), "buffer.running_mean"),
    # not before an instance norm, whose input gradient has no mean to lose
    "detached mean": ("instance", lambda: DetachedMean(2, 6), "grad_input"),
    "buffers never moved": ("last", lambda: Forgetful(6), "buffer.num_batches_tracked"),
}


def network(dtype="float32", param_dtype=None, **planted):
    """Six normalisation layers with random parameters; ``planted`` puts another module in a place."""
    modules = {
        "first": nn.BatchNorm2d(6),
        "group": nn.GroupNorm(2, 6),
        "instance": nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
        "layer": nn.LayerNorm([6, 2, 3]),
        "rms": nn.RMSNorm([2, 3]),
        "last": nn.BatchNorm2d(6, momentum=0.3),
    } | planted
    made = nn.Sequential()
    for name, module in modules.items():
        made.add_module(name, module)
    for name, parameter in made.named_parameters():
        values = 0.5 + bits.uniform(f"local/{name}", tuple(parameter.shape))
        parameter.data.copy_(torch.from_numpy(values))
    made.to(getattr(torch, param_dtype or dtype))
    if param_dtype and param_dtype != dtype:
        made.rms.to(getattr(torch, dtype))  # torch's RMSNorm returns the wider of the two dtypes
    return made


def batch(number, dtype="float32", scale=1.0):
    x = scale * (bits.normal(f"local/x/{number}", SHAPE) + 0.5)
    return stored(x, dtype), stored(1 + bits.normal(f"local/g/{number}", SHAPE), dtype)


def steps(module, dtype="float32", modes=("train", "train", "eval"), labels=None, scale=0.05):
    for number, mode in enumerate(modes):
        yield judge_module_locally(module, *batch(number, dtype, scale), mode, labels=labels)


def outcomes(findings):
    return {finding.name: finding.outcome for finding in findings}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_of_torch_agrees_in_every_module_and_step(dtype):
    for findings in steps(network(dtype), dtype):
        assert outcomes(findings) == dict.fromkeys(NAMES, "pass")
        assert all(len(finding.figures) >= 3 for finding in findings)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_torch_in_low_precision_agrees_in_class_b(dtype):
    for findings in steps(network(dtype), dtype, labels={"*": "B"}):
        assert outcomes(findings) == dict.fromkeys(NAMES, "pass")


def test_torch_in_bfloat16_with_float32_parameters_needs_class_b_in_its_layer_norm_alone():
    module = network("bfloat16", "float32")
    for findings in steps(module, "bfloat16", labels={"layer": "B"}):
        assert outcomes(findings) == dict.fromkeys(NAMES, "pass")
    strict = next(iter(steps(module, "bfloat16")))
    assert (strict[0].name, strict[0].outcome) == ("layer", "fail")
    assert "agrees in class B" in strict[0].reason


@pytest.mark.parametrize(("dtype", "param_dtype"), [("float32", "float32"), ("bfloat16", "float32")])
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_names_its_module_and_no_other(fault, dtype, param_dtype):
    place, make, quantity = PLANTED[fault]
    labels = {"layer": "B"} if dtype == "bfloat16" else {}
    for findings in steps(network(dtype, param_dtype, **{place: make()}), dtype, modes=("train",) * 2, labels=labels):
        assert outcomes(findings) == dict.fromkeys(NAMES, "pass") | {place: "fail"}
        assert findings[0].name == place
        assert quantity in {figure.quantity for figure in findings[0].figures if not figure.ok}


def test_an_output_that_is_cut_from_its_input_misses_its_gradients():
    findings = next(iter(steps(network(rms=CutOff([2, 3])))))
    assert findings[0].name == "rms"
    missing = {figure.quantity for figure in findings[0].figures if figure.got == "nothing"}
    assert missing == {"grad_input", "grad.weight"}
    before = next(finding for finding in findings if finding.name == "layer")
    assert before.outcome == "pass"
    assert "grad_input not judged: no gradient reached its output" in before.reason


def test_the_worst_module_comes_first():
    findings = next(iter(steps(network(instance=PLANTED["unbiased variance"][1](), first=LargeEps(6)))))
    assert {finding.name for finding in findings[:2]} == {"first", "instance"}
    assert findings[0].budget >= findings[1].budget > 1


def test_a_module_without_a_reference_is_said_to_be_not_judged():
    module = nn.Sequential(nn.Softplus(), nn.BatchNorm2d(6))
    findings = judge_module_locally(module, *batch(0), "train")
    assert [str(finding) for finding in findings if finding.outcome == "not judged"] == [
        "0 (Softplus): not judged: no reference for Softplus"
    ]


def test_what_is_not_judged_comes_before_what_agrees():
    module = nn.Sequential(nn.BatchNorm2d(6), nn.Softplus())
    findings = judge_module_locally(module, *batch(0), "train")
    assert [finding.outcome for finding in findings] == ["not judged", "pass"]


def layer_norm(**given):
    x = stored(bits.normal("local/by-hand", (3, 8)), "float32")
    fields = {
        "name": "a",
        "kind": "LayerNorm",
        "reference": "references.layer_norm:LayerNorm",
        "args": {"normalized_shape": [8], "eps": 1e-5, "elementwise_affine": False, "bias": True},
        "x": x,
        "grad_output": x,
        "arrays": {},
    }
    return Captured(**fields | given)


def test_a_quantity_that_should_be_there_and_is_not_fails():
    (finding,) = judge_calls([layer_norm()])
    assert finding.outcome == "fail"
    assert {figure.got for figure in finding.figures} == {"nothing"}
    assert finding.budget == float("inf")


def test_a_quantity_that_is_rightly_missing_is_named_with_its_reason():
    x = layer_norm().x
    output = stored((x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5), "float32")
    (finding,) = judge_calls([layer_norm(arrays={"output": output}, absent={"grad_input": "its input needs none"})])
    assert (finding.outcome, finding.reason) == ("pass", "grad_input not judged: its input needs none")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"x": None}, "its input was not captured"),
        ({"x": np.ones((3, 8), np.int64)}, "its input is int64, which no reference takes"),
        (
            {"params": {"weight": np.ones(8, np.float32), "bias": np.ones(8, np.float64)}},
            "its parameters and buffers mix float32 and float64; references take one dtype",
        ),
        ({"unjudged": "it was never called"}, "it was never called"),
    ],
)
def test_what_no_reference_can_judge_says_why(given, reason):
    (finding,) = judge_locally([layer_norm(**given)])
    assert (finding.outcome, finding.reason) == ("not judged", reason)


def test_undetermined_slices_are_told():
    x = np.full((3, 8), 1e6, np.float32)
    arrays = {"output": np.zeros_like(x), "grad_input": np.zeros_like(x)}
    (finding,) = judge_calls([layer_norm(x=x, arrays=arrays)])
    assert "100% of its slices are undetermined" in finding.reason


def _by_hand(dtype, label, factor):
    """A call whose output is off by ``factor`` of what a class allows."""
    x = stored(bits.normal("local/narrow", (3, 8)), dtype)
    reference = LayerNorm(layer_norm().args, dtype, dtype, precision(dtype, label))
    found = reference.step(x, x, {}, {}, "train").quantities
    arrays = {name: stored(quantity.value, dtype) for name, quantity in found.items()}
    off = np.asarray(found["output"].value + factor * found["output"].scale, np.float64)
    return layer_norm(x=x, grad_output=x, arrays=arrays | {"output": stored(off, dtype)})


@pytest.mark.parametrize(
    ("dtype", "label", "factor", "said"),
    [("float16", "B", 0.5, True), ("float16", "B", 3.0, False), ("float32", "A", 30.0, False)],
)
def test_that_class_b_would_do_is_said_of_narrow_formats_where_it_would(dtype, label, factor, said):
    (finding,) = judge_calls([_by_hand(dtype, label, factor)])
    assert finding.outcome == "fail"
    assert ("agrees in class B" in finding.reason) == said


def test_a_call_that_cannot_be_judged_says_why_and_has_no_figures():
    (finding,) = judge_calls([layer_norm(unjudged="it draws")])
    assert (finding.outcome, finding.reason, finding.figures) == ("not judged", "it draws", ())
    (figure,) = call_figures(layer_norm(unjudged="it draws"), "A", 4)
    assert (figure.quantity, figure.step, figure.got, figure.expected) == ("a (LayerNorm)", 4, "not judged", "it draws")


def test_only_what_the_backend_can_show_is_asked_for_and_what_is_rightly_absent_is_said():
    right = _by_hand("float32", "A", 0.0)
    absent = {"grad_input": "its input needs no gradient", "grad.weight": "it has none"}
    output = layer_norm(x=right.x, arrays={"output": right.arrays["output"]}, absent=absent)
    (finding,) = judge_calls([output])
    assert (finding.outcome, finding.reason) == ("pass", "grad_input not judged: its input needs no gradient")
    (seen,) = judge_calls([layer_norm(x=right.x, arrays={"output": right.arrays["output"]}, observes=("output",))])
    assert (seen.outcome, [figure.quantity for figure in seen.figures]) == ("pass", ["output"])


def test_the_figures_of_a_call_are_named_by_it_and_by_its_step():
    figures = call_figures(_by_hand("float32", "A", 0.0), "A", 2)
    assert {(figure.quantity, figure.step, figure.ok) for figure in figures} == {
        ("a (LayerNorm) output", 2, True),
        ("a (LayerNorm) grad_input", 2, True),
    }
