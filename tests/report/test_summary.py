from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_runs import record, stored

from conformance.record import BAD, VERDICTS
from conformance.report.summary import FAILURES, INTERRUPTED, NOTHING, OK, Summary

RECORDS = st.lists(
    st.builds(
        record,
        st.integers(0, 50),
        st.sampled_from(VERDICTS),
        st.sampled_from(["", "why", "why not"]),
        backend=st.sampled_from(["torch-cpu", "torch-cuda", "onnx-dynamo"]),
        op=st.sampled_from(["BatchNorm2d", "LayerNorm"]),
        divergence=st.sampled_from(["", "gap"]),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_every_record_is_counted_once_everywhere(records):
    summary = Summary(stored(records))
    cells = [count for row in summary.table.values() for cell in row.values() for count in cell.values()]
    assert sum(summary.counts.values()) == sum(cells) == len(records)
    assert sum(group.count for group in summary.unsupported) == summary.counts.get("unsupported", 0)
    assert sum(group.count for group in summary.missing) == summary.counts.get("missing", 0)
    assert sum(group.count for group in summary.known) == summary.counts.get("known", 0)
    assert len(summary.failures) == sum(summary.counts.get(verdict, 0) for verdict in BAD)


@pytest.mark.parametrize(
    ("verdicts", "complete", "code"),
    [
        (["pass", "known", "fixed", "unsupported", "missing"], True, OK),
        (["pass", "fail"], True, FAILURES),
        (["pass", "error"], True, FAILURES),
        (["pass", "crash"], True, FAILURES),
        (["pass", "timeout"], True, FAILURES),
        (["pass", "fail"], False, INTERRUPTED),
        (["missing", "missing"], True, NOTHING),
    ],
)
def test_the_exit_code_says_how_the_run_went(verdicts, complete, code):
    run = stored([record(number, verdict) for number, verdict in enumerate(verdicts)], complete=complete)
    assert Summary(run).exit_code == code


def test_the_worst_budget_is_that_of_passes_and_failures_only():
    worst = Summary(stored()).worst["BatchNorm2d"]
    assert (worst.budget, worst.quantity, worst.backend) == (4.1, "output", "torch-cpu")
    known = [one for one in stored().records if one.verdict == "known"]
    assert Summary(stored(known)).worst == {}


def test_known_divergences_carry_the_range_of_their_size_and_their_reason():
    (group,) = Summary(stored()).known
    assert (group.divergence, group.why) == ("gap", "drops <train> mode | always")
    assert group.sizes == (("output", 0.003, 0.003),)
