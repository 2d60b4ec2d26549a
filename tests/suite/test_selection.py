from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conformance.errors import NothingSelected, UsageError
from conformance.suite.selection import select

TEXT = """\
defaults: {shape: [2, 3, 4, 5]}
groups:
  - {id: g, vary: {dtype: [float32, float16], args.affine: [true, false]}}
  - id: skips
    vary: {seed: [1, 2]}
    rules: [{when: {seed: 2}, skip: for a reason}]
cases:
  - {id: big, seed: 9, marks: [slow]}
  - {id: twin}
"""
OTHER = "spec: 1\nop: LayerNorm\ncases: [{id: a, shape: [2, 3]}]\n"


@pytest.fixture
def chosen(load: Callable[..., Any]) -> Callable[..., list[str]]:
    suite = load(TEXT, OTHER)

    def chosen(**asked: Any) -> list[str]:
        ids = [suite.cases[0].key if each == "KEY" else each for each in asked.pop("ids", ())]
        return [case.id for case in select(suite, ids=ids, **asked).cases]

    chosen.suite = suite
    return chosen


G = ["a::g", "a::g[no-affine]", "a::g[float16]", "a::g[float16,no-affine]"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [*G, "a::skips[seed=1]", "b::a"]),
        ({"slow": True}, [*G, "a::skips[seed=1]", "a::big", "b::a"]),
        ({"marks": ["slow"]}, ["a::big"]),
        ({"op": ["LayerNorm"]}, ["b::a"]),
        ({"dtype": ["float16"]}, G[2:]),
        ({"ids": ["a::g[*"]}, G[1:]),
        ({"ids": ["a::g[no-affine]"]}, ["a::g[no-affine]"]),
        ({"ids": ["*affine]", "b::a"]}, ["a::g[no-affine]", "a::g[float16,no-affine]", "b::a"]),
        ({"ids": ["KEY"]}, ["a::g"]),
        ({"ids": ["a::twin"]}, ["a::g"]),
        ({"ids": ["a::big"]}, ["a::big"]),
        ({"keyword": "affine"}, ["a::g[no-affine]", "a::g[float16,no-affine]"]),
        ({"keyword": "AFFINE and not float16"}, ["a::g[no-affine]"]),
        ({"keyword": "LayerNorm or (float16 and affine)"}, ["a::g[float16,no-affine]", "b::a"]),
        ({"keyword": "not not seed=1"}, ["a::skips[seed=1]"]),
        ({"dtype": ["float16"], "keyword": "affine"}, ["a::g[float16,no-affine]"]),
    ],
)
def test_what_is_asked_for_is_selected_in_order(
    chosen: Callable[..., list[str]], asked: dict[str, Any], expected: list[str]
) -> None:
    assert chosen(**asked) == expected


def test_slow_cases_that_are_left_out_are_counted(load: Callable[..., Any]) -> None:
    selection = select(load(TEXT))
    assert (len(selection.cases), selection.slow, selection.total) == (5, 1, 6)


def test_the_beginning_of_a_key_will_do(load: Callable[..., Any]) -> None:
    suite = load(TEXT)
    assert [case.id for case in select(suite, ids=[suite.cases[1].key[:8]]).cases] == [suite.cases[1].id]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"op": ["BatchNrm2d"]}, "'BatchNrm2d' is not an op; did you mean 'BatchNorm2d'?"),
        ({"dtype": ["half"]}, "'half' is not a dtype"),
        ({"marks": ["slwo"]}, "'slwo' is not a mark"),
        ({"ids": ["a::g[no-afine]"]}, "no case is called 'a::g[no-afine]'; did you mean 'a::g[no-affine]'?"),
        ({"ids": ["a::skips[seed=2]"]}, "a rule skips it: for a reason (a.yaml:8:13)"),
        ({"ids": ["zzz*"]}, "no case is called 'zzz*'"),
        ({"keyword": "a and"}, "the end is not expected there"),
        ({"keyword": "(a"}, "the end is not expected there"),
        ({"keyword": "a b"}, "'b' is not expected there"),
        ({"keyword": "not " * 100 + "a"}, "is not expected there"),
        ({"keyword": "a " * 300}, "too long"),
    ],
)
def test_what_nothing_bears_is_a_usage_error(
    chosen: Callable[..., list[str]], asked: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(**asked)
    assert expected in str(caught.value)


def test_selecting_nothing_says_so(chosen: Callable[..., list[str]]) -> None:
    with pytest.raises(NothingSelected, match="no case is selected"):
        chosen(keyword="nowhere")
    with pytest.raises(NothingSelected, match="1 would be, but are marked slow"):
        chosen(keyword="big")
