"""Somebody's own class on a page: whose formula its numbers match."""

from __future__ import annotations

import pytest

from conformance.errors import UsageError
from conformance.explain.draw import drawn
from conformance.explain.make import make
from conformance.explain.mine import runner

LAYERS = '''
import torch
from torch import nn


class Right(nn.BatchNorm1d):
    pass


class Swapped(nn.Module):
    """Keras's momentum and numpy's habit of adding eps to the standard deviation."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("moving_mean", torch.zeros(num_features))
        self.register_buffer("moving_variance", torch.ones(num_features))

    def forward(self, x):
        if not self.training:
            mean, var = self.moving_mean, self.moving_variance
        else:
            mean, var = x.mean(0), x.var(0, unbiased=False)
            with torch.no_grad():
                self.moving_mean.mul_(self.momentum).add_(mean, alpha=1 - self.momentum)
                self.moving_variance.mul_(self.momentum).add_(x.var(0), alpha=1 - self.momentum)
        return self.gamma * (x - mean) / (var.sqrt() + self.eps) + self.beta


class Strange(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x) * 1.25


class Failing(nn.BatchNorm1d):
    def forward(self, x):
        raise RuntimeError("no kernel for this")
'''


@pytest.fixture
def own(tmp_path):
    """``own("Swapped")`` is the name of a class in a file of its own."""
    file = tmp_path / "own_layers.py"
    file.write_text(LAYERS)
    return lambda name: f"{file}:{name}"


def test_a_right_class_matches_the_definition_everywhere(own):
    for topic in ("running-mean", "running-var", "eval-mode", "momentum-none", "biased-unbiased"):
        _, yours = make(topic, runner(own("Right")))
        assert yours
        assert all(each.agrees for each in yours), topic


def test_the_swapped_momentum_is_named_with_its_arithmetic(own):
    page, yours = make("running-mean", runner(own("Swapped")))
    first = yours[0]
    assert not first.agrees
    assert [formula.mistake for formula in first.matches] == ["momentum-swapped"]
    text = " ".join(drawn(page, yours).split())
    assert "yours is 4.95" in text
    assert "0.1 * 0 + 0.9 * 5.5 = 4.95 (momentum-swapped)" in text
    assert "<- exact match" in text


def test_parameters_under_other_names_are_no_obstacle(own):
    _, yours = make("eps", runner(own("Swapped")))
    assert [formula.mistake for formula in yours[0].matches] == ["eps-outside-sqrt"]


def test_the_page_of_a_mistake_asks_a_class_of_another_family_too(own):
    _, yours = make("unbiased-variance", runner(own("Strange")))
    assert "LayerNorm" in yours[0].what


def test_a_number_that_no_formula_gives_is_said_to_be_one(own):
    page, yours = make("eps", runner(own("Strange")))
    assert yours[0].matches == ()
    assert "matches no formula that is known here" in drawn(page, yours)


def test_an_exception_is_told_and_does_not_agree(own):
    page, yours = make("running-mean", runner(own("Failing")))
    assert not any(each.agrees for each in yours)
    assert "yours raised RuntimeError: no kernel for this" in " ".join(drawn(page, yours).split())


def test_a_class_that_takes_other_arguments_is_not_asked(own):
    _, yours = make("dropout-scaling", runner(own("Strange")))
    assert not any(each.asked for each in yours)


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        runner(f"{tmp_path}/nothing.py:Norm")
