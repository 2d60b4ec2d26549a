"""Procedures on torch modules: what is done between steps, and that a wrong procedure is caught and told where."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional

from conformance.backends.frozen_teacher import FrozenTeacher
from conformance.backends.torch_module import TorchModule
from conformance.backends.training import Training, reset_running_stats
from conformance.diagnose import suspects
from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.observation import Unsupported
from conformance.suite.case import Optimizer

SHAPE = (5, 3, 4, 2)
BOTH = Optimizer(lr=0.1, momentum=0.9, weight_decay=0.05)


def verdict(case, factory=None):
    inputs = make_inputs(case)
    observation = TorchModule("torch-cpu", "cpu", factory).run(case, inputs)
    return judge(case, Expectation(case, inputs), observation)


def wrong(judgement):
    """quantity -> the first step in which it is over its allowance; of exact quantities, a step."""
    return {
        figure.quantity: next((n for n, budget in enumerate(figure.budgets) if budget and budget > 1), figure.step)
        for figure in judgement.figures
        if not figure.ok
    }


# ---- optimizers ------------------------------------------------------------------------------------------------------


class Planted(torch.optim.Optimizer):
    """SGD written by hand, with a mistake in one of its parts."""

    def __init__(self, params, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, *, nesterov=False):
        super().__init__(params, {"lr": lr, "mu": momentum, "decay": weight_decay, "nesterov": nesterov})

    def decayed(self, p, group):
        return p.grad + group["decay"] * p

    def moved(self, buffer, g, group):
        return g.clone() if buffer is None else group["mu"] * buffer + g

    def direction(self, buffer, g, group):
        return g + group["mu"] * buffer if group["nesterov"] else buffer

    def stepped(self, p, d, group):
        return p - group["lr"] * d

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                g = self.decayed(p, group)
                buffer = self.state[p]["momentum_buffer"] = self.moved(self.state[p].get("momentum_buffer"), g, group)
                p.copy_(self.stepped(p, self.direction(buffer, g, group), group))


class Ascends(Planted):
    def stepped(self, p, d, group):
        return p + group["lr"] * d


class ForgetsDecay(Planted):
    def decayed(self, p, group):
        return p.grad.clone()


class DecaysDecoupled(Planted):
    def decayed(self, p, group):
        return p.grad.clone()

    def stepped(self, p, d, group):
        return p * (1 - group["lr"] * group["decay"]) - group["lr"] * d


class AveragesGradients(Planted):
    def moved(self, buffer, g, group):
        return g.clone() if buffer is None else group["mu"] * buffer + (1 - group["mu"]) * g


class DampensTheFirst(Planted):
    def moved(self, buffer, g, group):
        return (1 - group["mu"]) * g if buffer is None else group["mu"] * buffer + (1 - group["mu"]) * g


class RateInTheBuffer(Planted):
    def moved(self, buffer, g, group):
        return group["lr"] * g if buffer is None else group["mu"] * buffer + group["lr"] * g

    def stepped(self, p, d, group):
        return p - d


class LooksBack(Planted):
    def direction(self, buffer, g, group):
        return g + group["mu"] * buffer


class ForgetsMomentum(Planted):
    def direction(self, buffer, g, group):
        return g


class UpdatesOneParameter(Planted):
    def __init__(self, params, **arguments):
        super().__init__(list(params)[:1], **arguments)


@pytest.mark.parametrize(
    ("optimizer", "quantity", "step"),
    [
        (Ascends, "param.weight", 0),
        (ForgetsDecay, "momentum.weight", 0),
        (ForgetsDecay, "param.weight", 0),
        (DecaysDecoupled, "momentum.weight", 0),
        (AveragesGradients, "momentum.weight", 1),
        (AveragesGradients, "param.bias", 1),
        (DampensTheFirst, "momentum.bias", 0),
        (RateInTheBuffer, "momentum.weight", 0),
        (LooksBack, "param.weight", 0),
        (ForgetsMomentum, "param.weight", 1),
        (UpdatesOneParameter, "param.bias", 0),
    ],
)
def test_a_wrong_optimizer_is_caught_at_its_quantity_and_first_step(optimizer, quantity, step, case_of, monkeypatch):
    case = case_of("BatchNorm2d", shape=SHAPE, steps=("train", "train", "train"), optimizer=BOTH)
    monkeypatch.setattr(torch.optim, "SGD", optimizer)
    judgement = verdict(case)
    assert judgement.verdict == "fail"
    assert wrong(judgement)[quantity] == step
    assert not any(name.startswith(("buffer.", "output")) for name in wrong(judgement))


def test_a_right_optimizer_written_otherwise_passes(case_of, monkeypatch):
    monkeypatch.setattr(torch.optim, "SGD", Planted)
    for nesterov in (False, True):
        case = case_of("BatchNorm2d", shape=SHAPE, steps=("train", "eval", "train"))
        optimizer = msgspec.structs.replace(BOTH, nesterov=nesterov)
        assert verdict(msgspec.structs.replace(case, optimizer=optimizer)).verdict == "pass"


def test_one_wrong_update_is_told_once_and_not_at_every_later_step(case_of, monkeypatch):
    class FirstOnly(Planted):
        def stepped(self, p, d, group):
            first = "seen" not in self.state[p]
            self.state[p]["seen"] = True
            return super().stepped(p, 2 * d if first else d, group)

    monkeypatch.setattr(torch.optim, "SGD", FirstOnly)
    case = case_of("LayerNorm", shape=(6, 5), steps=("train", "train", "train"), optimizer=BOTH)
    figure = next(figure for figure in verdict(case).figures if figure.quantity == "param.weight")
    assert figure.budgets[0] > 100
    assert max(figure.budgets[1:]) <= 1


def test_gradients_that_are_not_zeroed_are_caught_at_the_second_step(case_of, monkeypatch):
    class KeepsGradients(nn.LayerNorm):
        def zero_grad(self, set_to_none):
            pass

    case = case_of("LayerNorm", shape=(6, 5), steps=("train", "train"), optimizer=BOTH)
    assert wrong(verdict(case, KeepsGradients))["grad.weight"] == 1


# ---- running statistics and resets -----------------------------------------------------------------------------------


class MovesInTheUpdate(nn.BatchNorm2d):
    """Keeps the batch for the next call, as if the optimizer's step moved the running statistics."""

    waiting: torch.Tensor | None = None

    def forward(self, x):
        if self.waiting is not None:
            functional.batch_norm(
                self.waiting, self.running_mean, self.running_var, training=True, momentum=self.momentum
            )
        if not self.training:
            self.waiting = None
            return super().forward(x)
        self.waiting = x.detach()
        return functional.batch_norm(x, None, None, self.weight, self.bias, training=True)


class ForgetsNothing(nn.BatchNorm2d):
    def reset_running_stats(self):
        pass


class ForgetsVarianceToZero(nn.BatchNorm2d):
    def reset_running_stats(self):
        super().reset_running_stats()
        if self.track_running_stats:
            self.running_var.zero_()


class ResetsParametersToo(nn.BatchNorm2d):
    def __init__(self, *args, **kwargs):
        self.made = False
        super().__init__(*args, **kwargs)
        self.made = True

    def reset_running_stats(self):
        super().reset_running_stats()
        if self.made:
            nn.init.ones_(self.weight)


def test_statistics_that_move_after_the_forward_pass_are_caught_without_an_optimizer(case_of):
    case = case_of("BatchNorm2d", shape=SHAPE, steps=("train", "eval", "train"))
    assert wrong(verdict(case, MovesInTheUpdate))["buffer.running_mean"] == 0


@pytest.mark.parametrize(
    ("layer", "quantity"),
    [
        (ForgetsNothing, "buffer.running_mean"),
        (ForgetsVarianceToZero, "buffer.running_var"),
        (ResetsParametersToo, "output"),
    ],
)
def test_a_wrong_reset_is_caught_in_the_step_after_it(layer, quantity, case_of):
    case = case_of("BatchNorm2d", shape=SHAPE, steps=("train", "train", "eval"), resets=(1,))
    assert wrong(verdict(case, layer))[quantity] == 1


def test_a_layer_that_cannot_reset_is_unsupported_and_not_wrong():
    class Tracks(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(3))

    with pytest.raises(Unsupported, match=r"Tracks has no method reset_running_stats\(\)"):
        reset_running_stats(Tracks())


def test_without_a_procedure_nothing_is_done(case_of):
    module = nn.BatchNorm2d(3)
    module.weight.grad = torch.ones(3)
    training = Training(module, case_of("BatchNorm2d"))
    training.before(0)
    assert training.after("train") == {}
    assert bool((module.weight == 1).all())


# ---- a frozen teacher ------------------------------------------------------------------------------------------------


class ForgetsEval(FrozenTeacher):
    """The parameters are frozen, and train() reaches the teacher all the same."""

    train = nn.Module.train


class ForgetsToFreeze(FrozenTeacher):
    """The teacher evaluates, but the optimizer is given parameters that it may change."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher.requires_grad_(requires_grad=True)

    def forward(self, x):
        return self.student(x) - self.teacher(x)


def test_a_teacher_in_train_mode_is_told_by_its_buffers_at_the_first_step(case_of):
    case = case_of("FrozenTeacher", steps=("train", "train", "eval"))
    assert verdict(case).verdict == "pass"
    judgement = verdict(case, ForgetsEval)
    assert judgement.verdict == "fail"
    found = wrong(judgement)
    assert {"buffer.teacher.running_mean", "buffer.teacher.running_var", "output"} <= set(found)
    assert found["buffer.teacher.running_mean"] == 0
    assert not any("student" in name for name in found)


def test_the_forgotten_eval_is_named(case_of):
    case = case_of("FrozenTeacher", steps=("train", "train", "eval"))
    inputs = make_inputs(case)
    expectation, observation = Expectation(case, inputs), TorchModule("torch-cpu", "cpu", ForgetsEval).run(case, inputs)
    figures = judge(case, expectation, observation).figures
    found = suspects(case, expectation, observation, (), figures)
    assert [explanation.mistakes for explanation in found.explanations] == [("teacher-in-train-mode",)]
    assert not found.explanations[0].left


def test_a_teacher_that_is_not_frozen_is_told_by_its_parameters(case_of):
    case = case_of("FrozenTeacher", steps=("train", "train"), optimizer=Optimizer(lr=0.1))
    assert verdict(case).verdict == "pass"
    found = wrong(verdict(case, ForgetsToFreeze))
    assert found["param.teacher.weight"] == 0
    assert "buffer.teacher.running_mean" not in found
