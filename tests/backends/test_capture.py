"""Capturing every call of every module of a torch network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from conformance.backends.capture import capture
from conformance.backends.tensors import to_array, to_tensor
from conformance.errors import UsageError
from conformance.inputs import bits
from conformance.inputs.make import stored
from conformance.judge.local import judge_locally

SHAPE = (3, 4, 2, 3)


def given(dtype="float32", shape=SHAPE, name="x"):
    return stored(bits.normal(f"capture/{name}", shape), dtype)


def captured_of(module, mode="train", dtype="float32", shape=SHAPE, out=None):
    return capture(module, given(dtype, shape), given(dtype, out or shape, "g"), mode)


def by_name(captured):
    return {f"{call.name}/{call.call}": call for call in captured}


def all_pass(captured):
    return all(finding.outcome == "pass" for finding in judge_locally(captured) if finding.outcome != "information")


class Wiring(nn.Module):
    """Modules by name and a forward function of them."""

    def __init__(self, forward, **modules):
        super().__init__()
        self._wired = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self._wired(self, x)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_what_is_captured_is_bit_for_bit_what_torch_computes_without_capture(dtype):
    def run(make_capture):
        torch.manual_seed(1)
        module = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)).to(getattr(torch, dtype))
        if make_capture:
            return captured_of(module, dtype=dtype)
        x = to_tensor(given(dtype)).requires_grad_()
        y = module(x)
        y.backward(to_tensor(given(dtype, name="g")))
        return module, x, y

    captured = run(make_capture=True)
    module, x, y = run(make_capture=False)
    first, last = captured[0], captured[-1]
    pairs = [
        (last.arrays["output"], y),
        (first.arrays["grad_input"], x.grad),
        *((first.arrays[f"grad.{name}"], p.grad) for name, p in module[0].named_parameters()),
        *((last.arrays[f"grad.{name}"], p.grad) for name, p in module[2].named_parameters()),
        *((first.arrays[f"buffer.{name}"], b) for name, b in module[0].named_buffers()),
    ]
    for seen, expected in pairs:
        wanted = to_array(expected)
        assert seen.dtype == wanted.dtype
        assert seen.tobytes() == wanted.tobytes()


def test_each_call_has_its_arguments_mode_and_buffers_before_and_after():
    module = nn.Sequential(nn.BatchNorm2d(4, eps=1e-3, momentum=None, affine=False))
    (call,) = captured_of(module)
    assert call.args == {
        "num_features": 4,
        "eps": 1e-3,
        "momentum": None,
        "affine": False,
        "track_running_stats": True,
        "bias": False,
    }
    assert (call.name, call.kind, call.mode, call.params) == ("0", "BatchNorm2d", "train", {})
    assert call.buffers["num_batches_tracked"] == 0
    assert call.arrays["buffer.num_batches_tracked"] == 1
    assert not call.buffers["running_mean"].any()
    assert call.arrays["buffer.running_mean"].all()


def test_the_calls_come_in_their_order_and_those_never_made_come_last():
    module = Wiring(lambda s, x: s.b(s.a(x)), c=nn.Identity(), b=nn.GroupNorm(1, 4), a=nn.GroupNorm(2, 4))
    captured = captured_of(module)
    assert [call.name for call in captured] == ["a", "b", "c"]
    assert captured[-1].unjudged == "it was never called"


def test_a_module_alone_is_a_network():
    (call,) = captured_of(nn.GroupNorm(2, 4))
    assert (call.name, str(call)) == ("", "(the whole) (GroupNorm)")
    assert all_pass([call])


def test_in_place_modules_neither_fail_nor_change_what_was_captured_before():
    module = nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.GroupNorm(2, 4))
    plain = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU(), nn.GroupNorm(2, 4))
    for call, expected in zip(captured_of(module), captured_of(plain), strict=True):
        assert call.arrays.keys() == expected.arrays.keys()
        assert call.x.tobytes() == expected.x.tobytes()
        assert call.grad_output.tobytes() == expected.grad_output.tobytes()
        for name, array in call.arrays.items():
            assert array.tobytes() == expected.arrays[name].tobytes(), (call, name)


def test_a_network_that_relies_on_a_module_working_in_place_still_works():
    def forward(s, x):
        h = s.norm(x)
        s.relu(h)
        return s.last(h)

    module = Wiring(forward, norm=nn.BatchNorm2d(4), relu=nn.ReLU(inplace=True), last=nn.GroupNorm(2, 4))
    calls = by_name(captured_of(module))
    assert (calls["last/0"].x >= 0).all()
    assert (calls["norm/0"].arrays["output"] < 0).any()
    norm = calls["norm/0"]
    assert (norm.grad_output[norm.arrays["output"] < 0] == 0).all()
    assert all_pass([norm, calls["last/0"]])


def test_a_module_that_is_called_twice_has_the_gradients_of_each_call():
    module = Wiring(lambda s, x: s.norm(s.norm(x) * 2), norm=nn.BatchNorm2d(4))
    first, second = captured_of(module)
    assert (first.call, second.call) == (0, 1)
    assert second.buffers["running_mean"].tobytes() == first.arrays["buffer.running_mean"].tobytes()
    total = to_array(module.norm.weight.grad)
    np.testing.assert_allclose(first.arrays["grad.weight"] + second.arrays["grad.weight"], total, rtol=1e-5, atol=1e-5)
    assert all_pass([first, second])


def test_modules_that_share_a_parameter_have_gradients_of_their_own():
    module = nn.Sequential(nn.GroupNorm(1, 4), nn.GroupNorm(4, 4))
    module[1].weight = module[0].weight
    first, second = captured_of(module)
    assert first.arrays["grad.weight"].tobytes() != second.arrays["grad.weight"].tobytes()
    assert all_pass([first, second])


def test_a_tensor_with_two_uses_gives_each_its_own_input_gradient_and_its_maker_the_sum():
    module = Wiring(
        lambda s, x: s.b(h := s.a(x)) + s.c(h), a=nn.BatchNorm2d(4), b=nn.GroupNorm(1, 4), c=nn.GroupNorm(2, 4)
    )
    calls = by_name(captured_of(module))
    b, c = (calls[name].arrays["grad_input"] for name in ("b/0", "c/0"))
    assert (b + c).tobytes() == calls["a/0"].grad_output.tobytes()
    assert all_pass(calls.values())


def test_modules_that_return_views_are_captured():
    module = nn.Sequential(
        nn.Identity(), nn.GroupNorm(2, 4), nn.Flatten(), nn.LayerNorm(24), nn.Unflatten(1, SHAPE[1:])
    )
    captured = captured_of(module)
    assert captured[2].arrays["output"].shape == (3, 24)
    assert captured[2].arrays["grad_input"].shape == SHAPE
    judged = [captured[1], captured[3]]
    assert all(call.grad_output is not None for call in captured)
    assert all_pass(judged)


def test_an_input_that_needs_no_gradient_is_told():
    module = Wiring(lambda s, x: s.b(s.a(x.detach())), a=nn.GroupNorm(1, 4), b=nn.GroupNorm(2, 4))
    first, second = captured_of(module)
    assert first.absent == {"grad_input": "its input needs no gradient"}
    assert {"grad.weight", "grad.bias"} < first.arrays.keys()
    assert "grad_input" in second.arrays
    assert all_pass([first, second])


def test_frozen_parameters_are_told():
    module = nn.Sequential(nn.GroupNorm(1, 4))
    module[0].weight.requires_grad_(requires_grad=False)
    (call,) = captured_of(module)
    assert call.absent == {"grad.weight": "the parameter is frozen"}
    assert all_pass([call])


def test_calls_without_gradients_are_judged_by_their_output():
    def forward(s, x):
        with torch.no_grad():
            h = s.a(x)
        return s.b(h)

    first, _ = captured_of(Wiring(forward, a=nn.BatchNorm2d(4), b=nn.GroupNorm(1, 4)))
    assert set(first.absent.values()) == {"gradients were switched off"}
    assert set(first.arrays) == {"output", *(f"buffer.{name}" for name in first.buffers)}
    assert all_pass([first])


def test_an_output_that_no_gradient_reaches_is_told():
    module = Wiring(lambda s, x: s.a(x) + s.b(x).detach(), a=nn.GroupNorm(1, 4), b=nn.GroupNorm(2, 4))
    _, second = captured_of(module)
    assert second.absent["grad_input"] == "no gradient reached its output"
    assert all_pass([second])


def test_a_part_that_stays_in_eval_mode_is_judged_in_eval_mode():
    class Frozen(nn.BatchNorm2d):
        def train(self, mode=True):  # noqa: FBT002 - torch's signature
            return super().train(mode=False)

    (call,) = captured_of(nn.Sequential(Frozen(4)))
    assert call.mode == "eval"
    assert call.kind == "Frozen"
    assert all_pass([call])


def test_checkpointed_modules_are_captured_once():
    module = Wiring(lambda s, x: checkpoint(s.norm, x, use_reentrant=False), norm=nn.GroupNorm(2, 4))
    (call,) = captured_of(module)
    assert {"grad_input", "grad.weight"} <= call.arrays.keys()
    assert all_pass([call])


def test_a_computed_parameter_is_taken_as_it_is():
    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

    module = nn.GroupNorm(2, 4)
    parametrize.register_parametrization(module, "weight", Doubled())
    captured = captured_of(nn.Sequential(module))
    assert [call.name for call in captured] == ["0"]
    assert (captured[0].params["weight"] == 2).all()
    assert captured[0].absent == {"grad.weight": "it is computed from other parameters"}
    assert all_pass(captured)


def test_a_module_called_with_its_input_by_name_is_captured():
    (call,) = captured_of(Wiring(lambda s, x: s.norm(input=x), norm=nn.GroupNorm(2, 4)))
    assert all_pass([call])


def test_a_module_that_takes_two_tensors_is_said_to_be_not_judged():
    module = Wiring(lambda s, x: s.both(x, x), both=nn.CosineSimilarity(dim=4 - 1))
    (call,) = captured_of(module, out=SHAPE[:-1])
    assert call.unjudged == "it was called with Tensor and Tensor; references take one tensor"


def test_a_module_that_returns_no_tensor_is_said_to_be_not_judged():
    module = Wiring(lambda s, x: s.rnn(x)[0], rnn=nn.GRU(3, 3))
    (call,) = captured_of(module, shape=(2, 5, 3))
    assert call.unjudged == "no reference for GRU"


def test_a_network_that_returns_another_shape_is_refused_in_words():
    with pytest.raises(UsageError, match=r"returned shape \[3, 24\].*has shape \[3, 4, 2, 3\]"):
        captured_of(nn.Flatten())


def test_the_network_is_left_as_it_was_even_when_it_raises():
    def forward(s, x):
        return s.broken(s.norm(x))

    class Broken(nn.GroupNorm):
        def forward(self, x):
            raise ArithmeticError("no forward today")

    module = Wiring(forward, norm=nn.BatchNorm2d(4), broken=Broken(2, 4))
    with pytest.raises(ArithmeticError, match="no forward today"):
        captured_of(module)
    assert all(isinstance(part._parameters["weight"], nn.Parameter) for part in (module.norm, module.broken))
    assert not module.broken._forward_pre_hooks
    assert not module.norm._forward_hooks


def test_after_capture_the_parameters_hold_the_gradients_of_this_pass_alone():
    module = nn.Sequential(nn.GroupNorm(2, 4))
    for _ in range(2):
        (call,) = captured_of(module)
        assert isinstance(module[0].weight, nn.Parameter)
        assert to_array(module[0].weight.grad).tobytes() == call.arrays["grad.weight"].tobytes()
