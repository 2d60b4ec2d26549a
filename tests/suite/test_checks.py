from __future__ import annotations

from collections.abc import Callable

import pytest

GROUP = "defaults: {shape: [2, 3, 4, 5]}\ngroups:\n  - id: g\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("defaults: {args: {moment: 0.1}}\n", "3:19 defaults.args unknown 'moment'; did you mean 'momentum'?"),
        ("defaults: {args: {eps: null}}\n", "3:24 defaults.args.eps eps takes a number, not null"),
        ("defaults: {args: {momentum: true}}\n", "momentum takes a number or null, not true"),
        ("defaults: {data: nromal}\n", "'nromal' is not a data generator; did you mean 'normal'?"),
        ("defaults: {raises: {type: E, match: '('}}\n", "is not a regular expression"),
        ("defaults: {tolerance: {output: {}}}\n", "an empty tolerance; give rtol, atol, ulp or budget"),
        (GROUP + "    set: {op: BatchNorm2}\n", "'BatchNorm2' is not an op; did you mean 'BatchNorm2d'?"),
        (GROUP + "    vary: {momentum: [0.1]}\n", "6:12 groups[0].vary 'momentum' cannot be varied"),
        (GROUP + "    vary: {momentum: [0.1]}\n", "did you mean 'args.momentum'?"),
        (GROUP + "    vary: {dtype: [float32, float32]}\n", "groups[0].vary.dtype[1] 'float32' is listed twice"),
        (GROUP + "    vary: {args.eps: [1, 1.0]}\n", "1.0 is listed twice"),
        (GROUP + "    vary: {dtype: []}\n", "no values"),
        (GROUP + "    vary: {dtype: [floaat64]}\n", "6:20 groups[0].vary.dtype[0] 'floaat64' is not a dtype"),
        (GROUP + "    vary: {args.affine: {a: 1}}\n", "groups[0].vary.args.affine.a affine takes true or false, not 1"),
        (GROUP + "    rules: [{when: {dtype: float32}}]\n", "a rule without effect"),
        (GROUP + "    rules: [{when: {dtype: float32}, skip: x, marks: [slow]}]\n", "does nothing else"),
        (GROUP + "    rules: [{when: {}, skip: x}]\n", "0 entries where at least 1 is expected"),
        (
            GROUP + "    vary: {dtype: [float32, float64]}\n    rules: [{when: {seed: 0}, set: {dtype: float16}}]\n",
            "'dtype' is varied by this group; its label would not tell the truth",
        ),
        ("groups: [{id: a}, {id: a}]\ndefaults: {shape: [1, 1, 1, 1]}\n", "the id 'a' stands on line 3 already"),
        ("groups: [{id: a}]\ncases: [{id: a}]\n", "the id 'a' stands on line 3 already"),
        ("divergences: [{id: d, when: {dtype: float32}}]\n", "'why' is missing"),
        (
            "divergences: [{id: d, when: {dtype: float32}, why: x, size: {output: [2, 1]}}]\n",
            "the range [2, 1] is empty",
        ),
        ("cases: [{id: a, op: LayerNorm, args: {affine: true}}]\n", "cases[0].args unknown 'affine'"),
    ],
)  # fmt: skip
def test_each_mistake_is_found_where_it_stands(problems: Callable[..., list[str]], text: str, expected: str) -> None:
    assert any(expected in found for found in problems(text)), problems(text)


def test_an_unknown_op_is_told_with_the_nearest(problems: Callable[..., list[str]]) -> None:
    (found,) = problems("spec: 1\nop: LayrNorm\ncases: [{id: a, shape: [2, 3]}]\n")
    assert found == "2:5 op 'LayrNorm' is not an op; did you mean 'LayerNorm'?"


def test_a_group_of_another_op_must_know_the_arguments_of_the_defaults(problems: Callable[..., list[str]]) -> None:
    (found,) = problems("defaults: {shape: [2, 3], args: {affine: true}}\ncases: [{id: a, op: LayerNorm}]\n")
    assert "LayerNorm has no argument 'affine', which defaults set" in found


def test_a_group_may_be_of_another_op(load: Callable[..., object]) -> None:
    suite = load("defaults: {shape: [2, 3, 4]}\ngroups: [{id: a, set: {op: BatchNorm1d}}]\n")
    assert [case.op for case in suite.cases] == ["BatchNorm1d"]
