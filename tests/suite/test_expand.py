from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from conformance.ops import OPS

HEAD = "defaults: {shape: [2, 3, 4, 5]}\n"


def ids(suite: Any) -> list[str]:
    return [case.id.partition("::")[2] for case in suite.cases]


def group(body: str) -> str:
    return HEAD + "groups:\n  - id: g\n" + "".join(f"    {line}\n" for line in body.splitlines())


# ---- ids -----------------------------------------------------------------------------------------------------------


def test_an_id_prints_only_what_differs_from_the_default(load: Callable[..., Any]) -> None:
    suite = load(group("vary: {args.affine: [true, false], dtype: [float32, float16]}"))
    assert ids(suite) == ["g", "g[float16]", "g[no-affine]", "g[no-affine,float16]"]


def test_adding_an_axis_renames_nothing(load: Callable[..., Any]) -> None:
    before = load(group("vary: {args.affine: [true, false], layout: [contiguous, strided]}"))
    after = load(
        group("vary: {args.affine: [true, false], layout: [contiguous, strided], grad_layout: [contiguous, strided]}")
    )
    kept = {case.id: case.key for case in after.cases}
    assert all(kept[case.id] == case.key for case in before.cases)


def test_the_default_of_a_group_is_what_its_set_says(load: Callable[..., Any]) -> None:
    suite = load(group("set: {dtype: float64}\nvary: {dtype: [float64, float32]}"))
    assert ids(suite) == ["g", "g[float32]"]


def test_labels_of_the_file_are_used(load: Callable[..., Any]) -> None:
    suite = load(group("vary: {args.momentum: {m0.1: 0.1, average: null}, shape: {odd: [5, 7, 3, 9]}}"))
    assert ids(suite) == ["g[odd]", "g[average,odd]"]


def test_values_that_read_alike_are_numbered(load: Callable[..., Any]) -> None:
    assert ids(load(group("vary: {steps: [[eval], [eval, eval], [train, eval]]}"))) == ["g[e]", "g[ee]", "g[te]"]


def test_a_group_without_axes_is_one_case(load: Callable[..., Any]) -> None:
    assert ids(load(group("set: {seed: 3}"))) == ["g"]


def test_cases_come_in_the_order_of_the_file(load: Callable[..., Any]) -> None:
    text = HEAD + "groups: [{id: b}, {id: a, set: {seed: 1}}]\ncases: [{id: c, seed: 2}]\n"
    assert ids(load(text)) == ["b", "a", "c"]


# ---- fields --------------------------------------------------------------------------------------------------------


def test_layers_override_each_other_and_arguments_merge(load: Callable[..., Any]) -> None:
    text = (
        "defaults: {shape: [2, 3, 4, 5], args: {eps: 0.5, momentum: 0.25}, seed: 1}\n"
        "groups: [{id: g, set: {args: {eps: 0.125}, seed: 2}, vary: {args.affine: [false]}}]\n"
    )
    (case,) = load(text).cases
    assert case.args == {
        "num_features": 3, "eps": 0.125, "momentum": 0.25, "affine": False, "track_running_stats": True, "bias": True
    }  # fmt: skip
    assert case.seed == 2


def test_parameters_have_the_dtype_of_the_input_unless_said(load: Callable[..., Any]) -> None:
    suite = load(group("vary: {dtype: [float32, bfloat16, int64], param_dtype: {same: null, wide: float32}}\n"
                       "rules: [{when: {dtype: int64}, raises: {type: E, match: m}}]"))  # fmt: skip
    found = {case.id: (case.dtype, case.param_dtype, case.requires_grad) for case in suite.cases}
    assert found == {
        "a::g": ("float32", "float32", True),
        "a::g[bfloat16]": ("bfloat16", "bfloat16", True),
        "a::g[bfloat16,wide]": ("bfloat16", "float32", True),
        "a::g[int64]": ("int64", "float32", False),
    }


def test_every_case_knows_its_group_its_reason_and_its_place(load: Callable[..., Any]) -> None:
    (case,) = load("about: file\n" + group("about: because")).cases
    assert (case.group, case.about, str(case.origin)) == ("g", "because", "a.yaml:6:5")


def test_slow_groups_and_marks_add_up(load: Callable[..., Any]) -> None:
    (case,) = load(group("slow: true\nset: {marks: [big]}\nrules: [{when: {dtype: float32}, marks: [odd]}]")).cases
    assert case.marks == ("big", "slow", "odd")


# ---- rules ---------------------------------------------------------------------------------------------------------


def test_a_skip_removes_and_lists_the_combination(load: Callable[..., Any]) -> None:
    suite = load(group("vary: {dtype: [float32, float16]}\nrules: [{when: {dtype: float16}, skip: no reason}]"))
    assert ids(suite) == ["g"]
    (skipped,) = suite.skipped
    assert (skipped.id, skipped.reason, skipped.origin.line) == ("a::g[float16]", "no reason", 7)


def test_nothing_of_a_product_is_lost(load: Callable[..., Any]) -> None:
    suite = load(group("vary: {dtype: [float32, float16], seed: [0, 1, 2]}\n"
                       "rules: [{when: {dtype: float16, seed: [1, 2]}, skip: x}]"))  # fmt: skip
    assert len(suite.cases) + len(suite.skipped) + len(suite.aliases) == 6


def test_rules_set_what_they_say(load: Callable[..., Any]) -> None:
    suite = load(group(
        "vary: {dtype: [float32, float16]}\n"
        "rules:\n"
        "  - {when: {dtype: float16}, set: {data: scaled, args: {eps: 0.5}}}\n"
        "  - {when: {dtype: float16}, tolerance: {output: {budget: 2}}}\n"
        "  - {when: {dtype: float16}, raises: {type: ValueError, match: x}}\n"
        "  - {when: {dtype: float16}, robustness: true}\n"
    ))  # fmt: skip
    plain, ruled = suite.cases
    assert plain.data == "normal"
    assert (ruled.data, ruled.args["eps"], ruled.robustness) == ("scaled", 0.5, True)
    assert ruled.raises.type == "ValueError"
    assert (ruled.tolerance["output"].budget, ruled.tolerance["output"].origin) == (2.0, "a.yaml:9")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("rules: [{when: {dtype: float16}, skip: x}]", "matches no combination of group 'g'"),
        ("rules: [{when: {dtype: float16}, marks: [slow]}]", "matches no case that is left of group 'g'"),
        ("rules: [{when: {dtype: float32}, skip: x}]", "the rules skip every combination of group 'g'"),
        (
            "rules:\n  - {when: {dtype: float32}, set: {seed: 1}}\n  - {when: {seed: 0}, set: {seed: 2}}",
            "sets 'seed' of a::g, which the rule on line 7 sets too",
        ),
        (
            "combine: pairwise\nvary: {seed: [0, 1], layout: [strided]}\nrules: [{when: {seed: 7}, skip: x}]",
            "matches no combination",
        ),
        ("set: {shape: [2, 3]}", "BatchNorm2d takes inputs of rank 4, not [2, 3]"),
        ("set: {shape: [2000, 3, 400, 400]}", "at most 32,000,000 are allowed"),
        ("vary: {seed: [1, 2], args.eps: [1, 2], shape: [[9000, 9, 900, 9]]}", "656,100,000 elements"),
    ],
)  # fmt: skip
def test_what_a_group_cannot_mean_is_an_error(problems: Callable[..., list[str]], body: str, expected: str) -> None:
    assert any(expected in found for found in problems(group(body))), problems(group(body))


def test_a_rule_that_others_have_skipped_empty_is_an_error(problems: Callable[..., list[str]]) -> None:
    (found,) = problems(group(
        "vary: {seed: [0, 1]}\nrules: [{when: {seed: 1}, skip: x}, {when: {seed: 1}, robustness: true}]"
    ))  # fmt: skip
    assert "matches no case that is left" in found


def test_a_missing_shape_is_an_error(problems: Callable[..., list[str]]) -> None:
    assert problems("cases: [{id: a}]\n") == ["3:9 cases[0] no shape; give one in defaults, set or vary"]


def test_a_shape_that_the_op_refuses_needs_a_raises(load: Callable[..., Any]) -> None:
    (case,) = load("cases: [{id: a, shape: [2], raises: {type: ValueError, match: got 1D}}]\n").cases
    assert case.raises.match == "got 1D"


def test_arguments_that_do_not_fit_the_shape_need_a_raises(
    load: Callable[..., Any], problems: Callable[..., list[str]]
) -> None:
    wrong = "cases: [{id: a, shape: [2, 3, 4, 5], args: {num_features: 4}"
    (found,) = problems(f"{wrong}}}]\n")
    said = "shape [2, 3, 4, 5]: num_features is 4, and axis 1 of the shape has 3; mend it, or say what the case raises"
    assert found.endswith(said)
    (case,) = load(f"{wrong}, raises: {{type: RuntimeError, match: running_mean}}}}]\n").cases
    assert case.args["num_features"] == 4


def test_what_an_op_has_against_its_arguments_is_told(
    load: Callable[..., Any], problems: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def complete(args: Any, shape: Any) -> Any:
        raise ValueError("three is too many")

    monkeypatch.setitem(OPS, "BatchNorm2d", dataclasses.replace(OPS["BatchNorm2d"], complete=complete))
    (found,) = problems("cases: [{id: a, shape: [2, 3, 4, 5]}]\n")
    assert "the arguments do not fit the shape [2, 3, 4, 5]: three is too many" in found
    (case,) = load("cases: [{id: a, shape: [2, 3, 4, 5], raises: {type: ValueError, match: many}}]\n").cases
    assert case.args["num_features"] is None


# ---- pairwise and limits -------------------------------------------------------------------------------------------

AXES = (
    "vary: {shape: [[5, 7, 3, 9], [1, 3, 1, 1]], dtype: [float32, float64, float16], seed: [0, 1, 2],"
    " layout: [contiguous, strided]}\n"
)


def test_a_pairwise_group_has_every_pair_that_is_not_skipped(load: Callable[..., Any]) -> None:
    suite = load(
        group("combine: pairwise\n" + AXES + "rules: [{when: {facts.values_per_channel: 1, dtype: float64}, skip: x}]")
    )
    assert len(suite.cases) < 18
    shown = {
        pair
        for case in suite.cases
        for pair in combinations((case.shape, case.dtype, case.seed, case.layout), 2)
    }  # fmt: skip
    axes = [((5, 7, 3, 9), (1, 3, 1, 1)), ("float32", "float64", "float16"), (0, 1, 2), ("contiguous", "strided")]
    every = {(a, b) for left, right in combinations(axes, 2) for a in left for b in right}
    assert every - shown == {((1, 3, 1, 1), "float64")}
    assert [skipped.id for skipped in suite.skipped] == ["a::g[1x3x1x1,float64]"]


def test_expansion_is_deterministic(load: Callable[..., Any]) -> None:
    text = group("combine: pairwise\n" + AXES)
    assert load(text) == load(text)


def test_a_file_has_at_most_20_000_combinations(problems: Callable[..., list[str]]) -> None:
    numbers = ", ".join(map(str, range(200)))
    (found,) = problems(group(f"vary: {{seed: [{numbers}], args.eps: [{numbers}]}}"))
    assert "6:11 groups[0].vary 40,000 combinations; at most 20,000 are allowed" in found


def test_a_pairwise_cover_that_would_take_minutes_is_refused(problems: Callable[..., list[str]]) -> None:
    numbers = ", ".join(map(str, range(300)))
    (found,) = problems(group(f"combine: pairwise\nvary: {{seed: [{numbers}], args.eps: [{numbers}]}}"))
    assert "90,000 pairs of values; at most 50,000" in found


def test_a_file_without_cases_is_an_error(problems: Callable[..., list[str]]) -> None:
    assert problems("about: empty\n") == ["1:1 (file) no groups and no cases; give at least one of them"]
