"""Dropout judged by its law: right ones pass, and each way to be wrong is told."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch

from conformance import backends
from conformance.backends.torch_module import TorchModule, torch_cpu
from conformance.inputs import Inputs, make_inputs
from conformance.judge import Expectation, judge
from conformance.judge.law import ALPHA, COMPARISONS, FALSE_ALARM, interval, mask_figures, mask_tests
from conformance.judge.local import judge_locally
from conformance.observation import Observation, StepObservation
from conformance.suite.loader import load_suite

CASES = Path(__file__).parents[2] / "cases"
FILES = [CASES / f"{name}.yaml" for name in ("dropout", "dropout1d", "dropout2d")]


def judged(case, backend=None, divergences=()):
    inputs = make_inputs(case)
    backend = backend or torch_cpu()
    return judge(case, Expectation(case, inputs), backend.run(case, inputs), backend.observes, divergences)


def wrong(judgement):
    return {figure.quantity for figure in judgement.figures if not figure.ok}


# ---- the arithmetic of false alarms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 60])
@pytest.mark.parametrize("q", [Fraction(1, 2), Fraction(1, 10), Fraction(9, 10)])
@pytest.mark.parametrize("alpha", [Fraction(1, 10), Fraction(1, 10**4), Fraction(1, 10**9)])
def test_the_interval_leaves_at_most_alpha_and_one_count_less_would_leave_more(n, q, alpha):
    low, high = interval(n, float(q), float(alpha))

    def tail(counts):
        return sum(comb(n, k) * q**k * (1 - q) ** (n - k) for k in counts)

    assert tail(range(low)) <= alpha / 2
    assert tail(range(high + 1, n + 1)) <= alpha / 2
    assert tail(range(low + 1)) > alpha / 2
    assert tail(range(high, n + 1)) > alpha / 2


def test_what_is_certain_leaves_one_count():
    assert interval(9, 0.0) == (0, 0)
    assert interval(9, 1.0) == (9, 9)
    assert interval(0, 0.5) == (0, 0)


def test_the_mask_tests_a_whole_run_are_fewer_than_the_bound_that_shares_out_the_false_alarms():
    """Of all shipped cases on all backends, not only on those that run unless others are named."""
    count = sum(map(mask_tests, load_suite(FILES).cases)) * len(backends.names())
    assert 500 < count < COMPARISONS
    assert count * ALPHA < FALSE_ALARM == 1e-9


# ---- what is right --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "shape"),
    [("Dropout", (40, 25)), ("Dropout1d", (24, 40, 3)), ("Dropout1d", (600, 4)), ("Dropout2d", (24, 40, 2, 3)),
     ("Dropout2d", (24, 40, 3))],
)  # fmt: skip
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_torch_follows_the_law(op, shape, p, case_of):
    judgement = judged(case_of(op, shape, "float32", p=p, data="nonzero", steps=("train", "train", "eval")))
    assert (judgement.verdict, judgement.reason) == ("pass", "")
    laws = {figure.quantity for figure in judgement.figures if figure.source == "law"}
    assert laws == ({"law.kept", "law.neighbours", "law.rows", "law.fresh"} if 0 < p < 1 else set()) - (
        {"law.rows"} if op == "Dropout1d" and len(shape) == 2 else set()
    )


def test_the_same_case_draws_the_same_and_leaves_the_generator_as_it_was(case_of):
    case = case_of("Dropout", (8, 9), "float32", data="nonzero", steps=("train", "train"))
    inputs = make_inputs(case)
    before = torch.random.get_rng_state()
    first, second = (torch_cpu().run(case, inputs) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, other in zip(first.steps, second.steps, strict=True):
        np.testing.assert_array_equal(one.arrays["output"], other.arrays["output"])
    assert (first.steps[0].arrays["output"] != first.steps[1].arrays["output"]).any()


def test_a_single_call_of_a_few_units_is_too_little_to_tell(case_of):
    """Everything is dropped once in sixteen times: no alarm."""
    case = case_of("Dropout", (1, 4), "float32", data="nonzero")
    assert judged(case, TorchModule("always", "cpu", lambda p: Wrong(p, lambda _: torch.zeros))).verdict == "pass"


def test_only_pairs_of_which_both_are_seen_are_counted(case_of):
    """Fifteen units in three rows; a zero in the data hides the fate of its unit."""
    case = case_of("Dropout", (3, 5), "float32", p=0.5, steps=("train", "eval", "train"))
    inputs = make_inputs(case)
    chance = np.random.default_rng(5)
    batches = [(chance.random((3, 5)) > 0.25).astype(np.float32) for _ in case.steps]
    masks = [chance.random((3, 5)) > 0.5 for _ in case.steps]
    given = Inputs(
        {}, {}, tuple(replace(s, x=x, grad_output=0 * x) for s, x in zip(inputs.steps, batches, strict=True))
    )
    seen = tuple(StepObservation({"output": 2 * m * x}) for m, x in zip(masks, batches, strict=True))
    found = {(f.quantity, f.step): f.got for f in mask_figures(case, given, Observation(seen))}

    def counted(pairs):
        """How many of (fate, seen, fate, seen) have equal fates, of those that are seen."""
        usable = [(one, other) for one, shown, other, also in pairs if shown and also]
        return f"{sum(bool(one) == bool(other) for one, other in usable)} of {len(usable)} "

    told = {}
    for step in (0, 2):
        fates, shown = (masks[step] & (batches[step] != 0)).reshape(-1), (batches[step] != 0).reshape(-1)
        told["law.kept", step] = f"{fates.sum()} of {shown.sum()} "
        told["law.neighbours", step] = counted(
            (fates[i], shown[i], fates[i + 1], shown[i + 1]) for i in range(0, 14, 2)
        )
        told["law.rows", step] = counted((fates[i], shown[i], fates[i + 5], shown[i + 5]) for i in range(5))
    (first, now), (before, after) = (masks[0], masks[2]), (batches[0] != 0, batches[2] != 0)
    told["law.fresh", 2] = counted(
        zip(*(array.reshape(-1) for array in (first & before, before, now & after, after)), strict=True)
    )
    assert found.keys() == told.keys()
    for place, words in told.items():
        assert found[place].startswith(words), place


def test_an_output_of_another_shape_shows_no_mask(case_of):
    case = case_of("Dropout", (4, 6), "float32", p=0.5)
    wrong_shape = Observation((StepObservation({"output": np.ones((4, 5), np.float32)}),))
    assert mask_figures(case, make_inputs(case), wrong_shape) == ()


# ---- what is wrong --------------------------------------------------------------------------------------------------


class Mask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, forward, backward):
        ctx.save_for_backward(backward)
        return x * forward

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None, None


class Wrong(torch.nn.Module):
    """Dropout with a mask, a scale and a gradient of one's own; what is not given is right."""

    def __init__(self, p, draw=None, scale=None, back=None, *, in_eval=False, unit=lambda shape: shape):
        super().__init__()
        self.p, self.back, self.in_eval, self.unit = p, back, in_eval, unit
        self.draw = (draw or (lambda p: lambda shape: (torch.rand(shape) >= p).float()))(p)
        self.scale = (scale or (lambda p: 1 / (1 - p)))(p)

    def forward(self, x):
        if not (self.training or self.in_eval):
            return x
        mask = self.draw(self.unit(x.shape)).to(x.dtype) * self.scale
        return Mask.apply(x, mask, (self.back or (lambda m: m))(mask).expand(x.shape))


def halved(p):
    """Two neighbours share their fate."""
    return lambda shape: (torch.rand(*shape[:-1], shape[-1] // 2) >= p).float().repeat_interleave(2, dim=-1)


def one_row(p):
    return lambda shape: (torch.rand(shape[1:]) >= p).float().expand(shape)


def seeded(p):
    def draw(shape):
        torch.manual_seed(0)
        return (torch.rand(shape) >= p).float()

    return draw


ALL_LAWS = {"law.kept", "law.neighbours", "law.rows", "law.fresh"}
#: what is wrong -> the fake, and what must tell it
MISTAKES = {
    "not scaled": (lambda p: Wrong(p, scale=lambda _: 1.0), {"output", "grad_input"}),
    "scaled by 1 / p": (lambda p: Wrong(p, scale=lambda p: 1 / p), {"output", "grad_input"}),
    "keeps with probability p": (
        lambda p: Wrong(p, draw=lambda p: lambda s: (torch.rand(s) < p).float()),
        {"law.kept"},
    ),
    "keeps a little too often": (
        lambda p: Wrong(p, draw=lambda p: lambda s: (torch.rand(s) >= 0.6 * p).float()),
        {"law.kept"},
    ),
    "drops nothing": (lambda p: Wrong(p, draw=lambda _: torch.ones), ALL_LAWS),
    "neighbours share their fate": (lambda p: Wrong(p, draw=halved), {"law.neighbours"}),
    "rows share one mask": (lambda p: Wrong(p, draw=one_row), {"law.rows"}),
    "every call has the same mask": (lambda p: Wrong(p, draw=seeded), {"law.fresh"}),
    "the gradient has another mask": (lambda p: Wrong(p, back=lambda m: m.roll(1)), {"grad_input"}),
    "the gradient is not masked": (lambda p: Wrong(p, back=lambda m: m.max() + 0 * m), {"grad_input"}),
    "the gradient is not scaled": (lambda p: Wrong(p, back=lambda m: (m != 0).to(m.dtype)), {"grad_input"}),
    "drops in eval": (lambda p: Wrong(p, in_eval=True), {"output", "grad_input"}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_dropout_is_told_by_what_is_wrong_with_it(name, case_of):
    factory, telling = MISTAKES[name]
    case = case_of("Dropout", (40, 50), "float32", p=0.3, data="nonzero", steps=("train", "train", "eval"))
    judgement = judged(case, TorchModule("wrong", "cpu", factory))
    assert judgement.verdict == "fail"
    assert telling <= wrong(judgement)
    assert wrong(judgement) - telling <= (ALL_LAWS if telling & ALL_LAWS else set()), "a mask fails other tests too"


def test_the_fake_with_nothing_wrong_passes(case_of):
    case = case_of("Dropout", (40, 50), "float32", p=0.3, data="nonzero", steps=("train", "train", "eval"))
    assert judged(case, TorchModule("right", "cpu", Wrong)).verdict == "pass"


def test_elements_dropped_one_by_one_are_not_channels(case_of):
    case = case_of("Dropout2d", (20, 30, 3, 2), "float32", p=0.5, data="nonzero", steps=("train",))
    judgement = judged(case, TorchModule("elements", "cpu", torch.nn.Dropout))
    assert wrong(judgement) >= {"output", "grad_input"}
    whole = TorchModule("channels", "cpu", lambda p: Wrong(p, unit=lambda shape: (*shape[:2], 1, 1)))
    assert judged(case, whole).verdict == "pass"


def test_a_count_outside_its_interval_is_said_in_words(case_of):
    case = case_of("Dropout", (40, 50), "float32", p=0.3, data="nonzero", steps=("train",))
    judgement = judged(case, TorchModule("all", "cpu", MISTAKES["drops nothing"][0]))
    kept = next(figure for figure in judgement.figures if figure.quantity == "law.kept")
    low, high = interval(2000, 0.7)
    assert (kept.got, kept.expected) == ("2000 of 2000 units kept", f"{low} to {high}")


def test_zeros_in_the_data_hide_the_mask_but_not_in_the_gradient(case_of):
    """Every third x is 0: there the mask is read off the gradient, and not counted."""
    case = case_of("Dropout", (30, 30), "float32", p=0.5, data="whole", steps=("train",))
    assert judged(case).verdict == "pass"
    judgement = judged(case, TorchModule("wrong", "cpu", MISTAKES["the gradient is not masked"][0]))
    assert wrong(judgement) == {"grad_input"}


def test_inside_a_network_the_mask_is_read_off_as_well():
    from conformance.backends.capture import capture

    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(9, 2))
    x, gradient = np.ones((5, 6), np.float32), np.ones((5, 2), np.float32)
    findings = {finding.kind: finding.outcome for finding in judge_locally(capture(net, x, gradient, "train"))}
    assert findings == {"Linear": "pass", "ReLU": "pass", "Dropout": "pass"}
