"""What cases/procedures.yaml says of normalisation layers, in numbers, with torch's own layers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from conformance.cli.list_verb import command as list_command
from conformance.inputs import make_inputs
from conformance.reference import build_reference
from conformance.suite.loader import load_suite
from references.expected import run

FILE = Path(__file__).parents[1] / "cases" / "procedures.yaml"


@pytest.fixture(scope="module")
def cases():
    return load_suite([FILE]).cases


def draw(*shape, seed=0, mean=0.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + mean


# ---- the four combinations -------------------------------------------------------------------------------------------

SENTENCES = {
    "train-tracked": "Training with running statistics",
    "train-untracked": "Training without running statistics",
    "eval-tracked": "Evaluation with running statistics",
    "eval-untracked": "Evaluation without running statistics",
}


@pytest.mark.parametrize("group", SENTENCES)
def test_each_combination_of_mode_and_tracking_says_what_it_means(group, cases):
    mode, _, tracked = group.partition("-")
    chosen = [case for case in cases if case.group == group]
    assert {case.dtype for case in chosen} == {"float64", "float32", "bfloat16", "float16"}
    for case in chosen:
        assert set(case.steps) == {mode}
        assert case.args["track_running_stats"] == (tracked == "tracked")
        assert case.about.startswith(SENTENCES[group])


def test_why_shows_the_sentence():
    shown = CliRunner().invoke(list_command, [str(FILE), "--why", "procedures::eval-untracked"])
    assert "what becomes of a sample depends on the others in its batch" in shown.output


# ---- batch statistics against running statistics ---------------------------------------------------------------------


def test_without_running_statistics_eval_depends_on_the_neighbours_and_with_them_it_does_not():
    one, others = draw(1, 3, 2, 2), [draw(1, 3, 2, 2, seed=seed, mean=seed) for seed in (1, 9)]
    for tracks in (True, False):
        layer = nn.BatchNorm2d(3, track_running_stats=tracks).double().eval()
        first, second = (layer(torch.cat([one, other]))[0] for other in others)
        assert torch.equal(first, second) == tracks
    assert (first - second).abs().max() > 0.5


def test_two_values_normalised_with_themselves_are_plus_and_minus_one_whatever_they_were():
    layer = nn.BatchNorm2d(1, track_running_stats=False, eps=1e-12).double().eval()
    for pair in ([3.0, 5.0], [-700.0, 900.0], [0.001, 0.002]):
        output = layer(torch.tensor(pair, dtype=torch.float64).reshape(2, 1, 1, 1)).flatten()
        np.testing.assert_allclose(output.detach(), [-1.0, 1.0], atol=1e-5)


def test_trained_with_running_statistics_eval_is_near_training_and_with_two_samples_it_is_far_without():
    """The failure is known: a layer without running statistics is fed small batches when it evaluates."""
    batches = [draw(64, 3, 2, 2, seed=seed, mean=5.0) for seed in range(40)]
    sample = draw(2, 3, 2, 2, seed=99, mean=9.0)  # 4 std from what was trained on
    distance = {}
    for tracks in (True, False):
        layer = nn.BatchNorm2d(3, track_running_stats=tracks, momentum=None if tracks else 0.1, affine=False).double()
        for batch in batches:
            layer(batch)
        distance[tracks] = float(layer.eval()(sample).mean())
    assert distance[True] == pytest.approx(4.0, abs=0.4)
    assert distance[False] == pytest.approx(0.0, abs=1e-10)


# ---- when running statistics move ------------------------------------------------------------------------------------


def test_running_statistics_move_in_forward_and_not_in_the_update():
    layer = nn.BatchNorm2d(3).double()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    output = layer(draw(4, 3, 2, 2, mean=2.0))
    after_forward = layer.running_mean.clone()
    assert (after_forward != 0).all()
    output.sum().backward()
    optimizer.step()
    assert torch.equal(layer.running_mean, after_forward)
    layer.eval()(draw(4, 3, 2, 2, seed=1))
    assert torch.equal(layer.running_mean, after_forward)


@pytest.mark.parametrize("n", [2, 4, 30])
def test_with_momentum_one_the_mean_is_the_batchs_and_the_variance_n_over_n_minus_one_times_its(n):
    x = draw(n, 3, 1, 1, mean=1.0)
    layer = nn.BatchNorm2d(3, momentum=1.0).double()
    layer(x)
    np.testing.assert_allclose(layer.running_mean, x.mean((0, 2, 3)), rtol=1e-14)
    ratio = layer.running_var / x.var((0, 2, 3), correction=0)
    np.testing.assert_allclose(ratio, n / (n - 1), rtol=1e-12)
    shrunk = layer.eval()(x) / layer.train()(x)  # the same batch, normalised by its unbiased variance
    np.testing.assert_allclose(shrunk.detach(), np.sqrt((n - 1) / n), rtol=1e-4)


def test_the_reference_says_the_same_of_momentum_one(cases):
    for case in (case for case in cases if case.group == "momentum-one" and case.dtype == "float64"):
        inputs = make_inputs(case)
        batches = [(step.x, step.grad_output) for step in inputs.steps]
        first, _ = run(build_reference(case), batches, inputs.params, inputs.buffers, case.steps)
        x = inputs.steps[0].x
        n = x.size // x.shape[1]
        mean, var = (first.quantities[f"buffer.running_{name}"].value.astype(float) for name in ("mean", "var"))
        np.testing.assert_allclose(mean, x.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(var, x.var((0, 2, 3)) * n / (n - 1), rtol=1e-12)


# ---- recalibration ---------------------------------------------------------------------------------------------------


def test_recalibrated_with_momentum_none_the_buffers_are_the_plain_averages_and_with_a_tenth_they_are_not():
    batches = [draw(8, 3, 2, 2, seed=seed, mean=5.0) for seed in range(3)]
    average = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    for momentum in (None, 0.1):
        layer = nn.BatchNorm2d(3, momentum=momentum).double()
        layer.running_mean.fill_(-100.0)  # stale
        layer.reset_running_stats()
        for batch in batches:
            layer(batch)
        if momentum is None:
            np.testing.assert_allclose(layer.running_mean, average, rtol=1e-12)
        else:
            shares = [0.1 * 0.9**2, 0.1 * 0.9, 0.1]
            weighed = sum(share * batch.mean((0, 2, 3)) for share, batch in zip(shares, batches, strict=True))
            np.testing.assert_allclose(layer.running_mean, weighed, rtol=1e-12)
            assert float((layer.running_mean / average).mean()) == pytest.approx(1 - 0.9**3, abs=0.05)


# ---- the documentation -----------------------------------------------------------------------------------------------


def test_the_example_of_the_documentation_is_what_it_says(tmp_path):
    text = (FILE.parents[1] / "docs" / "procedures.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    file = tmp_path / "mine.yaml"
    file.write_text(block)
    recalibrated, trained = load_suite([file]).cases
    assert (recalibrated.resets, recalibrated.steps) == ((0,), ("train", "train", "train", "eval"))
    assert trained.optimizer is not None
    for name in trained.optimizer.formula:
        assert f"`{name}`" in text


def test_every_group_of_procedures_says_what_it_shows(cases):
    said = {case.about for case in cases}
    assert len(said) == len({case.group for case in cases})
    assert not any(about.startswith("What is done with") for about in said)  # that is what the file says
