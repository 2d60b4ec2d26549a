"""The likely cause is told beside the failure, and once for all failures of an op."""

from __future__ import annotations

import msgspec
import pytest
from stored_runs import OVER, record, stored

from conformance.engine.store import StoredRun
from conformance.record import Cause, Explanation, Suspicion
from conformance.report.causes import extent, likely, lines_of
from conformance.report.formats import FORMATS

NAMED = Cause(
    op="BatchNorm2d",
    backend="torch-cpu",
    mistakes=(("eps-missing",), ("running-std", "running-var-biased")),
    says={"eps-missing": "no eps", "running-std": "the root", "running-var-biased": "over n"},
    cases=2,
    failing=3,
    values=48,
    wrong=60,
    limits=("enough failing cases were searched before",),
)
FACTS = Cause(op="BatchNorm2d", backend="torch-cpu", failing=1, wrong=48, facts=("output is wrong in one channel",))
SUSPICION = Suspicion((Explanation(("eps-missing",), 48),), values=48, searched=True)
FAILED = record(1, "fail", "step 1 output: error 4.1 x allowed", figures=(OVER,), suspicion=SUSPICION)


def run_with(*causes):
    run = stored((FAILED,))
    return StoredRun(run.header, run.records, msgspec.structs.replace(run.footer, causes=causes))


def test_every_mistake_has_a_line_with_its_sentence_and_those_that_nothing_tells_apart_stand_together():
    assert list(lines_of(NAMED)) == [
        "likely cause of BatchNorm2d on torch-cpu",
        "   eps-missing: no eps",
        "      running-std: the root",
        "   or running-var-biased: over n",
        "   reproduces 48 of 60 values; explains 2 of 3 failing cases",
        "   not all was searched: enough failing cases were searched before",
    ]


def test_without_a_mistake_the_facts_are_told():
    assert list(lines_of(FACTS)) == [
        "likely cause of BatchNorm2d on torch-cpu: none of the known mistakes",
        "   output is wrong in one channel",
    ]


def test_all_is_said_where_all_is_explained():
    assert extent(msgspec.structs.replace(NAMED, cases=3, values=60)) == (
        "reproduces all 60 values; explains all 3 failing cases"
    )


def test_a_failure_names_the_mistakes_of_its_own_case():
    assert likely(FAILED, (NAMED,)) == "likely cause: eps-missing (reproduces all 48 values)"


def test_a_suspicion_that_the_whole_run_does_not_bear_out_is_not_told():
    assert likely(FAILED, (FACTS,)) == "no known mistake explains it; output is wrong in one channel"
    assert likely(FAILED, ()) == ""
    assert likely(msgspec.structs.replace(FAILED, suspicion=None), (NAMED,)) == ""


@pytest.mark.parametrize("form", ["text", "md", "github", "json"])
def test_reports_tell_the_cause(form):
    told = FORMATS[form](run_with(NAMED))
    assert "eps-missing" in told
    if form != "json":
        assert "likely cause: eps-missing (reproduces all 48 values)" in told
