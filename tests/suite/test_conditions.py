from __future__ import annotations

from typing import Any

import pytest

from conformance.suite.conditions import mistakes


def words(when: dict[str, Any], *, runtime: bool = True) -> list[str]:
    return [message for _, message, _ in mistakes(when, ["BatchNorm2d"], runtime=runtime)]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"dtyp": "float32"}, "unknown 'dtyp'; did you mean 'dtype'?"),
        ({"momentum": 0.1}, "unknown 'momentum'; did you mean 'args.momentum'?"),
        ({"values_per_channel": 1}, "did you mean 'facts.values_per_channel'?"),
        ({"facts.groups": 1}, "unknown 'facts.groups'"),
        ({"facts.rnak": 1}, "did you mean 'facts.rank'?"),
        ({"facts.zzz": 1}, "facts are batch, channels, elements"),
        ({"dtype": "flaot32"}, "'flaot32' is not a dtype; did you mean 'float32'?"),
        ({"dtype": ["float32", "flaot16"]}, "'flaot16' is not a dtype"),
        ({"dtype": 32}, "32 is not text; expected one of float64"),
        ({"steps": {"contain": "train"}}, "'contain' is not an operator; did you mean 'contains'?"),
        ({"steps": {"contains": "trian"}}, "did you mean 'train'?"),
        ({"facts.batch": {"gt": "3"}}, "gt takes a number, not '3'"),
        ({"facts.batch": {"gt": True}}, "gt takes a number, not true"),
        ({"dtype": []}, "an empty list matches nothing"),
        ({"dtype": {}}, "an empty mapping"),
        ({"torch": 2.1}, "2.1 is not a version specifier"),
        ({"torch": "2.1"}, "'2.1' is not a version specifier"),
        ({"torch": ">= 2.1, < x"}, "is not a version specifier"),
        ({"torch": ">=2.*"}, "is not a version specifier"),
        ({"torch": "~=2"}, "is not a version specifier"),
        ({"torch": {"contains": "2"}}, "is not a version specifier"),
    ],
)
def test_each_mistake_has_its_words(when: dict[str, Any], expected: str) -> None:
    (message,) = words(when)
    assert expected in message


@pytest.mark.parametrize(
    "when",
    [
        {"torch": ">=2.4,<2.7"}, {"torch": ["==2.13.*", "~=2.14.1"]}, {"python": {"not": "<3.12"}},
        {"backend": ["torch-cpu", "onnx-dynamo"]}, {"shape": []}, {"raises": True}, {"id": {"contains": "empty"}},
    ],
)  # fmt: skip
def test_what_is_right_has_no_mistake(when: dict[str, Any]) -> None:
    assert words(when) == []


def test_a_rule_cannot_depend_on_what_is_known_only_at_run_time() -> None:
    assert words({"backend": "torch-cpu"}, runtime=False) == [
        "'backend' is known only when a case runs; state it in divergences"
    ]


@pytest.mark.parametrize("text", ["<2.16", ">=2.4", "==2.13.*", "!=2.5.1", "~=2.4.1", "<2.16.dev0", "==2.1+cpu"])
def test_every_accepted_specifier_is_one_for_packaging(text: str) -> None:
    from packaging.specifiers import SpecifierSet

    assert words({"torch": text}) == []
    assert SpecifierSet(text)
