"""Running one handful of cases after another."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conformance.checking.trials import CrewTrials, HereTrials
from conformance.engine.crew import Crew
from conformance.engine.limits import Limits
from conformance.engine.plan import Plan
from conformance.engine.schedule import Schedule
from conformance.errors import InternalError

TOOLS = "conformance_fakes:tools"


def outcomes(records, backend="fake-a"):
    return [record[backend].verdict for record in records]


@pytest.fixture
def cases():
    from conformance_fakes import make_case

    return lambda *abouts, start=0: [make_case(start + place, about) for place, about in enumerate(abouts)]


@pytest.fixture
def crew():
    """Makes the trials of some backends, in one worker process."""
    made = []

    def of(*backends, limits):
        plan = Plan((), backends)
        made.append(Crew(plan, Schedule(plan), size=1, limits=Limits(), tools=TOOLS, evidence=""))
        return CrewTrials(made[-1], backends, limits)

    yield of
    for each in made:
        each.dismiss()


def test_a_process_is_kept_between_handfuls_and_replaced_when_it_dies(cases, crew):
    trials = crew("fake-a", "fake-b", limits=Limits(case_seconds=1.0))
    assert outcomes(trials.run(cases("", "judge-fail", ""))) == ["pass", "fail", "pass"]
    kept = list(trials._crew._workers)
    assert outcomes(trials.run(cases("", start=5))) == ["pass"]
    assert trials._crew._workers == kept
    records = trials.run(cases("", "segfault", "hang", "", start=9))
    assert outcomes(records) == ["pass", "crash", "timeout", "pass"]
    assert outcomes(records, "fake-b") == ["pass"] * 4
    assert "SIGSEGV" in records[1]["fake-a"].reason


def test_a_process_that_never_starts_is_an_error_and_no_endless_wait(cases, crew):
    with pytest.raises(InternalError, match="could not start"):
        crew("fake-dies", limits=Limits()).run(cases("", ""))


def test_in_this_process_the_same_is_said(cases):
    assert outcomes(HereTrials(("fake-a",), TOOLS).run(cases("", "judge-fail"))) == ["pass", "fail"]


def test_the_process_that_steers_a_check_starts_its_workers_before_it_loads_anything_heavy():
    code = "import conformance.checking.session, sys; print({'torch', 'numpy', 'references'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
