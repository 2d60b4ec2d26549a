from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conformance.suite.when import case_context, fact_names, holds, matches

CONTEXT = {
    "op": "BatchNorm2d", "shape": [4, 3, 5, 6], "dtype": "float32", "steps": ["train", "eval"], "args.affine": True,
    "args.momentum": None, "args.eps": 1e-5, "facts.batch": 4, "raises": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"dtype": "float32"}, True),
        ({"dtype": ["float16", "float32"]}, True),
        ({"dtype": {"not": "float32"}}, False),
        ({"dtype": {"not": ["float16", "bfloat16"]}}, True),
        ({"args.momentum": None}, True),
        ({"args.momentum": [0.1, None]}, True),
        ({"args.momentum": {"not": None}}, False),
        ({"args.affine": 1}, False),
        ({"args.affine": True}, True),
        ({"args.eps": 0.00001}, True),
        ({"facts.batch": 4.0}, True),
        ({"facts.batch": {"gt": 3, "le": 4}}, True),
        ({"facts.batch": {"gt": 4}}, False),
        ({"facts.batch": {"ge": 4}}, True),
        ({"facts.batch": {"lt": 4}}, False),
        ({"facts.batch": {"lt": 5}}, True),
        ({"facts.batch": {"le": 3}}, False),
        ({"facts.batch": {"gt": 3, "lt": 4}}, False),
        ({"facts.batch": True}, False),
        ({"dtype": {"contains": "32"}}, True),
        ({"dtype": {"contains": "64"}}, False),
        ({"facts.batch": {"contains": 4}}, False),
        ({"facts.batch": {"contains": "4"}}, False),
        ({"dtype": {"contains": 32}}, False),
        ({"steps": ["train", {"contains": "eval"}]}, True),
        ({"args.affine": {"gt": 0}}, False),
        ({"dtype": {"gt": 0}}, False),
        ({"steps": {"contains": "train"}}, True),
        ({"steps": {"contains": ["x", "eval"]}}, True),
        ({"steps": {"not": {"contains": "train"}}}, False),
        ({"steps": ["train", "eval"]}, True),
        ({"steps": ["train"]}, False),
        ({"steps": [["train"], ["train", "eval"]]}, True),
        ({"shape": [4, 3, 5, 6]}, True),
        ({"shape": {"contains": 0}}, False),
        ({"shape": [[1], [4, 3, 5, 6]]}, True),
        ({"raises": False}, True),
        ({"raises": True}, False),
        ({"op": "BatchNorm2d", "dtype": "float64"}, False),
        ({"args.unheard": 1}, False),
        ({"args.unheard": {"not": 1}}, False),
    ],
)
def test_a_condition_holds_when_every_key_has_its_value(when: dict[str, Any], *, expected: bool) -> None:
    assert matches(when, CONTEXT) is expected
    assert holds(when, CONTEXT) is expected


@pytest.mark.parametrize("key", ["backend", "device", "machine"])
def test_what_is_known_only_at_run_time_may_match_before_and_must_match_then(key: str) -> None:
    assert matches({key: "x"}, CONTEXT)
    assert not holds({key: "x"}, CONTEXT)
    assert holds({key: "x"}, {**CONTEXT, key: "x"})
    assert not matches({key: "x"}, {**CONTEXT, key: "y"})


@pytest.mark.parametrize(
    ("specifier", "version", "expected"),
    [
        ("<2.16", "2.13.0+cpu", True),
        ("<2.16", "2.16.0", False),
        (">=2.4,<2.7", "2.6.1", True),
        ("==2.13.0", "2.13.0+cu126", True),
        ("==2.13.*", "2.13.5", True),
        (["<2", ">=3"], "2.5", False),
        (["<2", ">=3"], "3.0", True),
        ({"not": "<2"}, "2.5", True),
        (">=2.16", "2.17.0.dev20260101", True),
        ("<2.16", "no version", False),
    ],
)
def test_packages_take_version_specifiers(specifier: Any, version: str, *, expected: bool) -> None:
    assert holds({"torch": specifier}, {"torch": version}) is expected


def test_a_package_that_is_not_there_meets_no_specifier() -> None:
    assert not holds({"onnxruntime": "<2"}, {"torch": "2.13.0"})
    assert not holds({"onnxruntime": {"not": "<2"}}, {"torch": "2.13.0"})


def test_the_context_of_a_case_has_fields_arguments_and_facts(load: Callable[..., Any]) -> None:
    (case,) = load("cases: [{id: a, shape: [2, 3, 4, 5], dtype: bfloat16}]\n").cases
    context = case_context(case)
    assert context["shape"] == [2, 3, 4, 5]
    assert context["param_dtype"] == "bfloat16"
    assert context["args.num_features"] == 3
    assert context["facts.values_per_channel"] == 40
    assert context["raises"] is False
    assert context["id"] == "a::a"


def test_facts_are_named_per_op() -> None:
    assert "values_per_group" in fact_names("GroupNorm")
    assert "values_per_group" not in fact_names("LayerNorm")
