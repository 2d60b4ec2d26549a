"""What failing cases have in common."""

from __future__ import annotations

import pytest

from conformance.diagnose.commonality import common, facts_in_common, set_apart
from conformance.record import Record


@pytest.fixture
def grid(case_of):
    """Cases in which shape, dtype and eps vary independently."""
    return [
        case_of("LayerNorm", (4, size), dtype, eps=eps, key=f"{size}{dtype}{eps}")
        for size in (7, 16, 32, 33, 64, 96)
        for dtype in ("float32", "float16", "bfloat16")
        for eps in (1e-5, 1e-3)
    ]


def told(grid, fails):
    return common([case for case in grid if fails(case)], [case for case in grid if not fails(case)])


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        (lambda case: case.dtype == "float16", "all where dtype is float16, and no other case fails so"),
        (lambda case: case.dtype != "float32", "all where dtype is not float32, and no other case fails so"),
        (lambda case: case.args["eps"] == 1e-3, "all where args.eps is 0.001, and no other case fails so"),
        (
            lambda case: case.shape[1] % 32,
            "all where the number of channels is not a multiple of 32, and no other case fails so",
        ),
        (lambda case: case.shape[1] > 40, "all where the number of channels > 33, and no other case fails so"),
        (
            lambda case: case.dtype == "float16" and case.shape[1] % 2,
            "all where dtype is float16 and the number of channels is not a multiple of 16, and no other case fails so",
        ),
    ],
)
def test_a_simple_condition_is_found(grid, fails, says):
    assert told(grid, fails) == says


def test_a_condition_that_some_passing_cases_meet_is_told_with_their_number(grid):
    lucky = grid[2]
    assert lucky.dtype == "float16"
    text = told(grid, lambda case: case.dtype == "float16" and case is not lucky)
    assert text == "all where dtype is float16, as also in 1 of the 25 that do not fail so"


def test_nothing_is_said_of_one_case_or_of_all(grid):
    assert told(grid, lambda case: case is grid[3]) == ""
    assert told(grid, lambda case: True) == ""
    assert told(grid, lambda case: case.dtype != "float16" or case is grid[2] or case.shape[1] > 7) == ""


def test_nothing_is_said_where_nothing_simple_holds(grid):
    scattered = {grid[0].key, grid[10].key, grid[17].key, grid[27].key}
    assert told(grid, lambda case: case.key in scattered) == ""


def test_train_and_eval_steps_are_told_in_words(case_of):
    steps = [("train",), ("eval",), ("train", "eval"), ("eval", "eval"), ("train", "train"), ("eval", "eval", "eval")]
    cases = [case_of("BatchNorm2d", (2, 3, 4, 5), steps=each, key=str(each)) for each in steps]
    assert (
        told(cases, lambda case: "train" in case.steps) == "all where there is a train step, and no other case fails so"
    )
    assert told(cases, lambda case: "train" not in case.steps).startswith("all where there is no train step")


def recorded(case, verdict):
    return Record(id=case.id, key=case.key, backend="mine", op=case.op, dtype=case.dtype, verdict=verdict, where="x:1")


def test_one_of_two_values_is_told(case_of):
    layouts = ("contiguous", "channels_last", "transposed", "strided")
    cases = [case_of("BatchNorm2d", (2, 3, 4, 5), layout=each, key=each + str(n)) for each in layouts for n in (1, 2)]
    fails = ("transposed", "strided")
    assert told(cases, lambda case: case.layout in fails) == (
        "all where layout is transposed or strided, and no other case fails so"
    )


def test_of_the_blocks_that_fit_the_largest_is_told(case_of):
    cases = [case_of("BatchNorm2d", (1, 1, 1, size), key=str(size)) for size in (33, 35, 99, 32, 64, 128)]
    found = set_apart(cases[:3], cases[3:])
    assert found is not None
    assert found.says == "the number of values is not a multiple of 32"


def test_a_run_tells_of_a_single_failing_case_too_but_not_by_two_conditions(grid):
    lone = next(case for case in grid if case.shape[1] == 7)
    cases = {case.key: case for case in [lone, *(case for case in grid if case.shape[1] > 7)]}
    records = [recorded(case, "fail" if case is lone else "pass") for case in cases.values()]
    assert facts_in_common(records[:1], records, cases)[0].startswith("fails only where the number of channels")
    cases = {case.key: case for case in grid}
    records = [recorded(case, "fail" if case is lone else "pass") for case in grid]
    assert facts_in_common([r for r in records if r.verdict == "fail"], records, cases) == ()


def test_a_few_passing_cases_that_are_so_too_are_counted(grid):
    cases = {case.key: case for case in grid}
    half = [case for case in grid if case.dtype == "float16"]
    records = [recorded(case, "fail" if case in half[1:] else "pass") for case in grid]
    (fact,) = facts_in_common([r for r in records if r.verdict == "fail"], records, cases)
    assert fact == "fails only where dtype is float16 (11 cases), as also in 1 of the 25 that pass"
