from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conformance.engine.runtime import applicable
from conformance.suite.divergences import quantities_of

CASES = "cases: [{id: t, shape: [2, 3, 4, 5]}, {id: e, shape: [2, 3, 4, 5], steps: [eval]}]\n"


def declared(when: str, rest: str = "") -> str:
    return CASES + f"divergences: [{{id: d, when: {when}, why: because{rest}}}]\n"


def test_a_case_carries_what_may_concern_it(load: Callable[..., Any]) -> None:
    suite = load(declared("{backend: onnx-dynamo, steps: {contains: train}}"))
    assert {case.id: case.divergences for case in suite.cases} == {"a::t": ("d",), "a::e": ()}


def test_the_run_decides_the_rest(load: Callable[..., Any]) -> None:
    suite = load(declared('{backend: onnx-dynamo, torch: "<2.16"}', ", size: {output: [0.1, 50]}"))
    case = suite.cases[0]
    (found,) = applicable(case, suite.divergences, {"backend": "onnx-dynamo", "torch": "2.13.0+cpu"})
    assert found.size == {"output": (0.1, 50.0)}
    assert (found.why, str(found.origin)) == ("because", "a.yaml:4:15")
    assert not applicable(case, suite.divergences, {"backend": "onnx-dynamo", "torch": "2.16.0"})
    assert not applicable(case, suite.divergences, {"backend": "torch-cpu", "torch": "2.13.0"})
    assert not applicable(case, suite.divergences, {"backend": "onnx-dynamo"})


def test_a_divergence_is_no_part_of_the_key(load: Callable[..., Any]) -> None:
    with_it, without = load(declared("{dtype: float32}")), load(CASES)
    assert [case.key for case in with_it.cases] == [case.key for case in without.cases]


def test_one_that_matches_no_case_is_an_error(problems: Callable[..., list[str]]) -> None:
    assert problems(declared("{dtype: float16}")) == ["4:29 divergences[0].when the divergence 'd' matches no case"]


def test_it_holds_for_the_cases_of_its_op_in_every_file(load: Callable[..., Any]) -> None:
    suite = load(
        declared("{dtype: float32}"),
        "cases: [{id: f, shape: [5, 3, 4, 5]}]\n",
        "spec: 1\nop: LayerNorm\ncases: [{id: l, shape: [5, 3]}]\n",
    )
    assert {case.id: case.divergences for case in suite.cases} == {
        "a::t": ("d",), "a::e": ("d",), "b::f": ("d",), "c::l": ()
    }  # fmt: skip


def test_it_may_name_other_ops_that_are_not_loaded(load: Callable[..., Any]) -> None:
    text = declared("{op: [LayerNorm, RMSNorm], dtype: float32}")
    assert all(not case.divergences for case in load(text).cases)
    suite = load(text, "spec: 1\nop: LayerNorm\ncases: [{id: l, shape: [5, 3]}]\n")
    assert [case.divergences for case in suite.cases] == [(), (), ("d",)]


def test_ids_are_unique_in_the_suite(problems: Callable[..., list[str]]) -> None:
    other = declared("{dtype: float32}").replace("[2, 3,", "[7, 3,")
    (found,) = problems(declared("{dtype: float32}"), other)
    assert found == "4:15 divergences[0] the id 'd' stands at a.yaml:4:15 already"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            declared("{dtype: float32}", ", size: {outptu: [0, 1]}"),
            "no case has a quantity 'outptu'; did you mean 'output'?",
        ),
        (declared("{dtype: float32}", ", quantities: [grad.wieght]"), "did you mean 'grad.weight'?"),
        (CASES.replace("steps: [eval]", "tolerance: {buffer.mean: {rtol: 1}}"), "no case has a quantity 'buffer.mean'"),
    ],
)
def test_quantities_that_no_case_has_are_errors(problems: Callable[..., list[str]], text: str, expected: str) -> None:
    (found,) = problems(text)
    assert expected in found


def test_quantities_may_be_patterns(load: Callable[..., Any]) -> None:
    suite = load(declared("{dtype: float32}", ", size: {grad.*: [0, 1]}, precision: B, always: false"))
    assert suite.divergences["d"].precision == "B"
    assert suite.divergences["d"].always is False


def test_another_definition_must_be_one_of_the_op(problems: Callable[..., list[str]], load: Callable[..., Any]) -> None:
    suite = load(declared("{dtype: float32}", ", reference: onnx"))
    assert suite.divergences["d"].reference == "onnx"
    (found,) = problems(declared("{dtype: float32}", ", reference: keras"))
    assert "'keras' is no other definition of BatchNorm2d; there is: inference, onnx" in found


def test_the_quantities_of_a_case_follow_its_arguments(load: Callable[..., Any]) -> None:
    (case,) = load("cases: [{id: a, shape: [2, 3, 4, 5], args: {bias: false}, requires_grad: false}]\n").cases
    names = quantities_of(case)
    assert {"output", "grad.weight", "buffer.running_var", "buffer.num_batches_tracked"} <= names
    assert not {"grad.bias", "grad_input"} & names
