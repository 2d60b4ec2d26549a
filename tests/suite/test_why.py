from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.errors import UsageError
from conformance.suite.why import explain_case

TEXT = """\
defaults:
  shape: {small: [4, 3, 5, 6]}
  args: {momentum: 0.25}
groups:
  - id: g
    set: {steps: [train, eval]}
    vary:
      dtype: [float32, bfloat16]
    rules:
      - when: {dtype: bfloat16}
        set: {data: scaled}
      - when: {dtype: bfloat16}
        tolerance: {output: {budget: 2}}
  - id: skips
    rules: [{when: {facts.batch: 9}, skip: for a reason}]
    vary: {shape: {nine: [9, 3, 5, 6], two: [2, 3, 5, 6]}}
"""


@pytest.fixture
def reasons(load: Callable[..., Any]) -> Callable[[str], dict[str, tuple[Any, str, str]]]:
    suite = load(TEXT)

    def reasons(name: str) -> dict[str, tuple[Any, str, str]]:
        found = explain_case(suite, name).reasons
        return {each.field: (each.value, each.source, str(each.origin)) for each in found}

    return reasons


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("op", ("BatchNorm2d", "the file", "a.yaml:2:5")),
        ("shape", ((4, 3, 5, 6), "defaults", "a.yaml:4:18")),
        ("args.momentum", (0.25, "defaults", "a.yaml:5:20")),
        ("args.num_features", (3, "derived from the shape", "None")),
        ("args.eps", (1e-5, "default of BatchNorm2d", "None")),
        ("steps", (("train", "eval"), "set of group 'g'", "a.yaml:8:18")),
        ("dtype", ("bfloat16", "axis of group 'g'", "a.yaml:10:24")),
        ("param_dtype", ("bfloat16", "follows dtype", "None")),
        ("data", ("scaled", "rule of group 'g'", "a.yaml:13:21")),
        ("tolerance.output", ({"budget": 2.0, "origin": "a.yaml:15"}, "rule of group 'g'", "a.yaml:15:29")),
        ("layout", ("contiguous", "default", "None")),
    ],
)
def test_each_field_says_who_set_it_and_where(
    reasons: Callable[[str], dict[str, Any]], field: str, expected: tuple[Any, str, str]
) -> None:
    assert reasons("a::g[bfloat16]")[field] == expected


def test_a_key_names_a_case_too(load: Callable[..., Any]) -> None:
    suite = load(TEXT)
    assert explain_case(suite, suite.cases[1].key).case.id == suite.cases[1].id


def test_a_file_will_do_in_place_of_a_suite(load: Callable[..., Any]) -> None:
    load(TEXT)
    assert explain_case(Path("a.yaml"), "a::g").case.dtype == "float32"


def test_a_skipped_combination_says_which_rule(load: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="is skipped: for a reason") as caught:
        explain_case(load(TEXT), "a::skips[nine]")
    assert caught.value.hint == "the rule stands at a.yaml:17:13"


def test_an_unknown_name_is_told_with_the_nearest(load: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="did you mean 'a::g\\[bfloat16\\]'"):
        explain_case(load(TEXT), "a::g[bflaot16]")
