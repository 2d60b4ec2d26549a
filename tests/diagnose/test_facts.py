"""Facts about an error: what is so, and nothing more."""

from __future__ import annotations

import pytest
import torch
from layers import Batch, Layer

from conformance.diagnose.facts import facts_of
from conformance.diagnose.replica import Replica


class Shaped(Layer):
    """Right but for what ``spoil`` does to the output."""

    spoil = staticmethod(lambda y: y)

    def forward(self, x):
        return self.spoil(super().forward(x))


def kinds(seen, spoil, shape=(6, 13)):
    made = type("Spoiled", (Shaped,), {"spoil": staticmethod(spoil)})
    one = seen(made, "LayerNorm", shape, steps=("train",))
    facts = facts_of(Replica(one.case, one.expectation, one.observation))
    return {fact.kind: fact.says for fact in facts if fact.quantity == "output"}


def test_one_sample(seen):
    def spoil(y):
        return torch.cat([y[:2], y[2:3] + 0.1, y[3:]])

    assert kinds(seen, spoil)["one-along-0"] == "output is wrong in only index 2 of 6 of axis 0 (samples)"


def test_a_constant(seen):
    assert kinds(seen, lambda y: y + 0.25)["added"] == "output is off by 0.25 everywhere"


def test_a_factor(seen):
    assert kinds(seen, lambda y: 1.5 * y)["times"] == "output is 1.5 times right"


def test_an_error_that_depends_on_one_axis(seen):
    told = kinds(seen, lambda y: y + torch.arange(13.0))
    assert told["added-by-[1]"] == "output: the error depends on axis 1 alone"


def test_a_ratio_that_depends_on_one_axis(seen):
    told = kinds(seen, lambda y: y * torch.arange(1.0, 7.0)[:, None])
    assert told["times-by-[0]"] == "output: its ratio to what is right depends on axis 0 (samples) alone"


def test_a_tail_past_a_block(seen):
    def spoil(y):
        flat = y.flatten().clone()
        flat[64:] += 1
        return flat.reshape(y.shape)

    assert kinds(seen, spoil)["tail"] == "output is wrong past the last whole block of 64 values alone"


def test_the_sign_and_nothing_and_nan(seen):
    assert "sign" in kinds(seen, lambda y: -y)
    assert "zero" in kinds(seen, lambda y: 0 * y)
    assert set(kinds(seen, lambda y: y * float("nan"))) == {"nan"}


def test_noise_has_no_shape(seen):
    torch.manual_seed(0)
    assert kinds(seen, lambda y: y + torch.rand_like(y)) == {}


class FromTheSecondStep(Batch):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) + (self.calls > 1)


class OnlyEval(Batch):
    def forward(self, x):
        return super().forward(x) + (not self.training)


class StuckBuffers(Batch):
    def remember(self, mean, var, n):
        pass


@pytest.mark.parametrize(
    ("make", "kind"), [(FromTheSecondStep, "only-later-steps"), (OnlyEval, "only-eval"), (StuckBuffers, "unmoved")]
)
def test_which_steps_and_what_did_not_move(seen, make, kind):
    one = seen(make, "BatchNorm2d", (4, 3, 5, 6), steps=("train", "train", "eval"))
    assert kind in {fact.kind for fact in facts_of(Replica(one.case, one.expectation, one.observation))}
