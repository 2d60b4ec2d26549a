"""Steps that reset, and optimizers: what becomes of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.suite.case import Optimizer, step_words
from conformance.suite.problems import CaseFileError
from conformance.suite.why import explain_case

SHAPE = "shape: [2, 3, 4, 5]"


def one(load: Callable[..., Any], fields: str) -> Any:
    (case,) = load(f"cases: [{{id: a, {SHAPE}, {fields}}}]\n").cases
    return case


def test_a_reset_is_no_step_but_stands_before_one(load: Callable[..., Any]) -> None:
    case = one(load, "steps: [train, reset, train, eval, reset, eval]")
    assert case.steps == ("train", "train", "eval", "eval")
    assert case.resets == (1, 3)
    assert step_words(case.steps, case.resets) == ["train", "reset", "train", "eval", "reset", "eval"]


def test_a_case_without_them_says_nothing_of_them(load: Callable[..., Any]) -> None:
    case = one(load, "steps: [train]")
    assert case.resets == ()
    assert case.optimizer is None


def test_an_optimizer_is_taken_as_torch_names_it(load: Callable[..., Any]) -> None:
    case = one(load, "optimizer: {lr: 1, momentum: 0.9, weight_decay: 1e-2, nesterov: true}")
    assert case.optimizer == Optimizer(lr=1.0, momentum=0.9, weight_decay=0.01, nesterov=True)


def test_optimizers_vary_and_conditions_see_them(load: Callable[..., Any]) -> None:
    text = """
groups:
  - id: g
    set: {shape: [2, 3, 4, 5]}
    vary:
      optimizer: {none: null, sgd: {lr: 0.1}}
      steps: {r: [reset, train], t: [train]}
    rules:
      - when: {optimizer: true, steps: {contains: reset}}
        skip: one thing at a time
"""
    suite = load(text)
    assert [case.id for case in suite.cases] == ["a::g[r]", "a::g", "a::g[sgd]"]
    assert [skipped.id for skipped in suite.skipped] == ["a::g[sgd,r]"]


def test_why_shows_the_steps_as_they_are_written(load: Callable[..., Any], tmp_path: Path) -> None:
    suite = load("groups: [{id: g, about: Recalibrated., set: {shape: [2, 3, 4, 5], steps: [reset, train, eval]}}]\n")
    explanation = explain_case(suite, "a::g")
    reasons = {reason.field: reason for reason in explanation.reasons}
    assert reasons["steps"].value == ("reset", "train", "eval")
    assert "set of group 'g'" in reasons["steps"].source
    assert "resets" not in reasons
    assert explanation.case.about == "Recalibrated."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("steps: [reset]", "the steps are all resets"),
        ("steps: [train, reset]", "the last step is a reset, which nothing shows"),
        ("args: {track_running_stats: false}, steps: [reset, train]", "has no buffers to reset"),
        ("optimizer: {lr: 0.1}, steps: [eval]", "an optimizer updates after train steps"),
        ("optimizer: {lr: 0.1}, args: {affine: false}", "has no parameters for an optimizer"),
        ("optimizer: {lr: 0.1, nesterov: true}", "nesterov needs a momentum above 0 and no dampening"),
        ("optimizer: {lr: 0}", "must be above 0"),
        ("optimizer: {lr: 0.1, momentun: 0.9}", "did you mean 'momentum'?"),
        ("optimizer: {momentum: 0.9}", "'lr' is missing"),
        ("steps: [train, rest]", "did you mean 'reset'?"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(load: Callable[..., Any], fields: str, message: str) -> None:
    with pytest.raises(CaseFileError) as caught:
        one(load, fields)
    assert message in str(caught.value)
