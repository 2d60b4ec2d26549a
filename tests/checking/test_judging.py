"""How candidates are judged: numbers count, manners are remarks."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.backends import load
from conformance.checking.judging import trial_tools
from conformance.checking.remarks import REMARK, decisive, remarks_of, strict_record_figures
from conformance.engine.execute import SharedCase
from conformance.observation import Observation, Raised
from conformance.suite.case import Raises


@pytest.fixture
def judged(case_of):
    """Judge what torch computes, after ``spoil`` has had a go at the first step."""
    tools = trial_tools()

    def run(op, shape, spoil=lambda step: None, **fields):
        case = case_of(op, shape, **fields)
        shared = SharedCase(case, tools)
        seen = load("torch-cpu").run(case, shared.inputs)
        spoil(seen.steps[0])
        return tools.judge(case, shared.expectation, seen, (), ())

    return run


def set_structure(**told):
    return lambda step: step.structure.update(told)


@pytest.mark.parametrize(("name", "value"), [("dtype", "float64"), ("shape", "4x3"), ("input_modified", "yes")])
def test_dtype_shape_and_an_untouched_input_count(judged, name, value):
    said = judged("BatchNorm2d", (2, 3, 4, 5), set_structure(**{name: value}))
    assert said.verdict == "fail"
    assert [figure.quantity for figure in decisive(said.figures)] == [name]


def test_another_memory_format_is_a_remark_that_strictness_counts(judged):
    said = judged("BatchNorm2d", (2, 3, 4, 5), set_structure(memory_format="other"), layout="channels_last")
    assert said.verdict == "pass"
    (remark,) = remarks_of(said.figures)
    assert (remark.quantity, remark.got, remark.expected) == ("memory_format", "other", "channels_last")
    assert [f.quantity for f in decisive(strict_record_figures(said.figures))] == ["memory_format"]


def test_names_in_the_state_dict_do_not_count(judged):
    assert judged("BatchNorm2d", (2, 3, 4, 5), set_structure(state_dict="gamma,beta")).verdict == "pass"


def test_a_count_that_is_not_kept_is_taken_for_right_and_a_wrong_one_is_not(judged):
    def forget(step):
        del step.arrays["buffer.num_batches_tracked"]
        step.structure["not_kept"] = "num_batches_tracked"

    def miscount(step):
        step.arrays["buffer.num_batches_tracked"] = np.array(99)

    assert judged("BatchNorm2d", (2, 3, 4, 5), forget).verdict == "pass"
    assert judged("BatchNorm2d", (2, 3, 4, 5), miscount).verdict == "fail"


def test_running_statistics_that_are_not_kept_are_a_failure(judged):
    def forget(step):
        del step.arrays["buffer.running_mean"]
        step.structure["not_kept"] = "running_mean"

    assert judged("BatchNorm2d", (2, 3, 4, 5), forget).verdict == "fail"


def refusal(case_of, raised):
    tools = trial_tools()
    case = case_of("BatchNorm2d", (1, 3, 1, 1), raises=Raises("ValueError", "more than 1 value"))
    return tools.judge(case, None, Observation((), raised), (), ())


def test_a_refusal_in_any_words_is_a_refusal(case_of):
    said = refusal(case_of, Raised("AssertionError", "one value has no variance", 0))
    assert (said.verdict, said.figures) == ("pass", ())


def test_a_refusal_that_is_missing_is_a_remark_that_strictness_counts(case_of):
    said = refusal(case_of, None)
    assert said.verdict == "pass"
    assert [figure.quantity for figure in remarks_of(said.figures)] == ["refusal"]
    assert [figure.quantity for figure in decisive(strict_record_figures(said.figures))] == ["refusal"]


def test_a_candidate_that_cannot_be_used_is_no_refusal(case_of):
    said = refusal(case_of, Raised("UsageError", "which is which?\nsay it", -1))
    assert said.verdict == "error"
    assert said.figures[0].got == "which is which?\nsay it"


def test_how_it_was_used_is_told_and_decides_nothing(judged):
    said = judged("LayerNorm", (4, 8), set_structure(candidate="module (a class)"))
    assert said.verdict == "pass"
    assert [figure.got for figure in said.figures if figure.source == REMARK] == ["module (a class)"]
    assert not decisive(strict_record_figures(said.figures))
