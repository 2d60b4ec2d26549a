"""Running one handful of cases after another."""

from __future__ import annotations

import pytest

from conformance.checking.trials import HereTrials, WorkerTrials
from conformance.engine.limits import Limits

TOOLS = "conformance_fakes:tools"


def outcomes(records, backend="fake-a"):
    return [record[backend].verdict for record in records]


@pytest.fixture
def cases():
    from conformance_fakes import make_case

    return lambda *abouts, start=0: [make_case(start + place, about) for place, about in enumerate(abouts)]


def test_a_process_is_kept_between_handfuls_and_replaced_when_it_dies(cases):
    with WorkerTrials(("fake-a", "fake-b"), TOOLS, Limits(case_seconds=1.0)) as trials:
        assert outcomes(trials.run(cases("", "judge-fail", ""))) == ["pass", "fail", "pass"]
        kept = trials._worker
        assert outcomes(trials.run(cases("", start=5))) == ["pass"]
        assert trials._worker is kept
        records = trials.run(cases("", "segfault", "hang", "", start=9))
        assert outcomes(records) == ["pass", "crash", "timeout", "pass"]
        assert outcomes(records, "fake-b") == ["pass"] * 4
        assert "SIGSEGV" in records[1]["fake-a"].reason


def test_a_process_that_never_starts_is_an_error_of_each_case_and_no_endless_wait(cases):
    with WorkerTrials(("fake-dies",), TOOLS, Limits()) as trials:
        assert outcomes(trials.run(cases("", "")), "fake-dies") == ["error", "error"]


def test_in_this_process_the_same_is_said(cases):
    with HereTrials(("fake-a",), TOOLS) as trials:
        assert outcomes(trials.run(cases("", "judge-fail"))) == ["pass", "fail"]
