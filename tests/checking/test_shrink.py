"""Shrinking, with pretended candidates that fail where a function of the case says so."""

from __future__ import annotations

from math import prod

import pytest

from conformance.checking.shrink import plainness, shrink, symptom_of
from conformance.engine.plan import plain_record
from conformance.ops import OPS
from conformance.record import Figure, Record


class Pretended:
    """Trials of a candidate that fails where ``fails`` holds, beside a torch that refuses what ``refuses`` names."""

    def __init__(self, fails, refuses=lambda case: False):
        self.fails, self.refuses, self.asked = fails, refuses, []

    def run(self, cases):
        self.asked += cases
        return [
            {
                "mine": self.record(case),
                "torch": plain_record(case, "torch", "error" if self.refuses(case) else "pass", ""),
            }
            for case in cases
        ]

    def record(self, case) -> Record:
        sign = self.fails(case)
        if not sign:
            return plain_record(case, "mine", "pass", "")
        figure = Figure(quantity=sign, step=0, budget=7.0, ok=False)
        return Record(
            id=case.id, key=case.key, backend="mine", op=case.op, dtype=case.dtype, verdict="fail", figures=(figure,)
        )


def shrunk(case, fails, *, seconds=20.0, **given):
    trials = Pretended(fails, **given)
    return shrink(case, trials.record(case), trials, "mine", "torch", seconds=seconds), trials


@pytest.fixture
def rich(case_of):
    """A case with nothing plain about it."""
    return case_of(
        "BatchNorm2d", (5, 7, 9, 11), "bfloat16", layout="channels_last", grad_layout="strided", data="f4-tail",
        params="negative", buffers="default", steps=("train", "eval", "train"), eps=1e-3, momentum=None, seed=3,
    )  # fmt: skip


def test_what_always_fails_becomes_the_plainest_and_smallest_case(rich):
    case = shrunk(rich, lambda case: "output")[0].case
    assert case.shape == (1, 1, 1, 1)
    assert case.args == OPS["BatchNorm2d"].complete(OPS["BatchNorm2d"].defaults(), (1, 1, 1, 1))
    assert (case.dtype, case.param_dtype, case.layout, case.grad_layout, case.data) == (
        "float32", "float32", "contiguous", "contiguous", "normal",
    )  # fmt: skip
    assert len(case.steps) == 1
    assert (case.params, case.buffers, case.seed) == ("random", "random", 0)


def test_what_matters_stays(rich):
    found = shrunk(
        rich,
        lambda case: "output" * (case.layout == "channels_last" and case.args["eps"] == 1e-3 and "eval" in case.steps),
    )[0]
    assert found.case.layout == "channels_last"
    assert found.case.args["eps"] == 1e-3
    assert found.case.args["momentum"] == 0.1
    assert found.case.steps == ("eval",)
    assert not found.hurried


def test_a_tail_past_a_block_shrinks_to_the_first_length_that_has_one(case_of):
    case = case_of("LayerNorm", (3, 5, 97), steps=("train",))
    found = shrunk(case, lambda case: "grad_input" * (case.shape[-1] % 32 != 0 and case.shape[-1] > 32))[0]
    assert prod(found.case.shape) == 33
    assert found.case.args["normalized_shape"] == [33]


def test_only_the_same_failure_counts(case_of):
    case = case_of("LayerNorm", (8, 16), steps=("train",))
    found = shrunk(case, lambda case: "grad.weight" if case.shape[0] > 3 else "output")[0]
    assert found.case.shape[0] == 4


def test_what_torch_refuses_is_no_smaller_case(rich):
    found, trials = shrunk(rich, lambda case: "output", refuses=lambda case: prod(case.shape) // case.shape[1] < 2)
    assert prod(found.case.shape) == 2
    assert any(prod(case.shape) == 1 for case in trials.asked)


def test_time_ends_it_and_it_says_so(rich):
    found = shrunk(rich, lambda case: "output", seconds=0.0)[0]
    assert found.hurried
    assert found.case == rich


def test_arguments_follow_the_shape_in_every_trial(case_of):
    trials = shrunk(case_of("GroupNorm", (4, 6, 5), num_groups=3), lambda case: "output")[1]
    assert all(case.args["num_channels"] == case.shape[1] for case in trials.asked)
    assert {case.args["num_groups"] for case in trials.asked} == {1, 3}


def test_keys_tell_trials_apart_and_are_those_of_the_content(rich):
    from conformance.suite.identity import key_of_case

    trials = shrunk(rich, lambda case: "output")[1]
    assert all(case.key == key_of_case(case) for case in trials.asked)


def test_the_symptom_is_the_first_quantity_on_the_way_of_the_data(case_of):
    case = case_of("BatchNorm2d", (2, 3, 4, 5))
    figures = [
        Figure(quantity=q, step=0, budget=9.0, ok=False) for q in ("grad.weight", "buffer.running_var", "output")
    ]
    record = Record(
        id=case.id, key=case.key, backend="m", op=case.op, dtype="float32", verdict="fail", figures=tuple(figures)
    )
    assert symptom_of(record).sign == "output"


def test_what_goes_wrong_in_an_earlier_step_comes_first(case_of):
    case = case_of("BatchNorm2d", (2, 3, 4, 5), steps=("train", "eval"))
    later = Figure(quantity="output", step=1, budget=90.0, budgets=(0.1, 90.0), ok=False)
    first = Figure(quantity="buffer.running_var", step=1, budget=9.0, budgets=(7.0, 9.0), ok=False)
    record = Record(
        id=case.id, key=case.key, backend="m", op=case.op, dtype="float32", verdict="fail", figures=(later, first)
    )
    assert symptom_of(record).sign == "buffer.running_var"


def test_a_missing_number_is_another_symptom_than_a_wrong_one(case_of):
    case = case_of("LayerNorm", (2, 3))

    def record(**figure):
        bad = Figure(quantity="output", step=0, ok=False, **figure)
        return Record(
            id=case.id, key=case.key, backend="m", op=case.op, dtype="float32", verdict="fail", figures=(bad,)
        )

    nan, wrong = record(budget=None, got="nan", expected="1"), record(budget=3.0, got="2", expected="1")
    assert symptom_of(nan) != symptom_of(wrong)
    assert not symptom_of(nan).shown_by(wrong)


def test_exceptions_are_alike_whatever_the_step(case_of):
    case = case_of("LayerNorm", (2, 3))
    first, third = (plain_record(case, "m", "error", f"TypeError in step {n}: no; the rest") for n in (0, 2))
    assert symptom_of(first) == symptom_of(third)
    assert symptom_of(first) != symptom_of(plain_record(case, "m", "error", "KeyError in step 0: no"))


def test_plain_and_small_cases_come_first(rich, case_of):
    plain = case_of("BatchNorm2d", (2, 3, 4, 5), steps=("train",))
    assert plainness(plain) < plainness(rich)
