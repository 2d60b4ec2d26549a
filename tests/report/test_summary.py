from __future__ import annotations

import dataclasses

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_runs import CLOSE, HEADER, OVER, record, stored

from conformance.record import BAD, VERDICTS
from conformance.report import terminal as text
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


def test_a_declared_divergence_that_no_record_shows_is_told_as_perhaps_fixed():
    run = stored([record(0, "pass", divergence="gap"), record(1, "pass", divergence="gap"), record(2, "pass")])
    (unseen,) = Summary(run).unseen
    assert (unseen.divergence, unseen.quantity, unseen.agreed, unseen.where) == ("gap", "", 2, "cases/f.yaml:52")
    assert "fixed? divergence gap (cases/f.yaml:52) is not seen in this run; 2 records pass" in text.render(run)


def test_a_declared_quantity_that_no_record_shows_is_told_as_perhaps_fixed():
    told = HEADER.extra["divergences"]["gap"] | {"quantities": ["output", "grad_input"]}
    header = msgspec.structs.replace(HEADER, extra={"divergences": {"gap": told}})
    known = record(0, "known", divergence="gap", figures=(OVER,))
    within = msgspec.structs.replace(CLOSE, quantity="grad_input")
    agreeing = record(1, "pass", divergence="gap", figures=(within,))
    run = dataclasses.replace(stored([known, agreeing]), header=header)
    assert [(unseen.quantity, unseen.agreed) for unseen in Summary(run).unseen] == [("grad_input", 1)]


def test_of_a_declared_quantity_that_no_record_compares_nothing_is_said():
    told = HEADER.extra["divergences"]["gap"] | {"quantities": ["output", "grad_input"]}
    header = msgspec.structs.replace(HEADER, extra={"divergences": {"gap": told}})
    run = dataclasses.replace(stored([record(0, "known", divergence="gap", figures=(OVER,))]), header=header)
    assert Summary(run).unseen == ()


def test_a_declared_pattern_is_seen_where_any_quantity_fits_it():
    told = HEADER.extra["divergences"]["gap"] | {"quantities": ["out*", "* (LayerNorm) grad.*"]}
    header = msgspec.structs.replace(HEADER, extra={"divergences": {"gap": told}})
    of_a_module = msgspec.structs.replace(CLOSE, quantity="4 (LayerNorm) grad.weight")
    known = record(0, "known", divergence="gap", figures=(OVER, of_a_module))
    run = dataclasses.replace(stored([known]), header=header)
    assert [unseen.quantity for unseen in Summary(run).unseen] == ["* (LayerNorm) grad.*"]


def test_a_divergence_that_is_seen_is_not_told_as_fixed():
    known = record(0, "known", divergence="gap", figures=(OVER,))
    assert Summary(stored([known, record(1, "pass", divergence="gap")])).unseen == ()


def test_what_an_explicit_tolerance_decided_is_marked():
    loose = msgspec.structs.replace(OVER, source="tolerance, cases/f.yaml:9")
    run = stored([record(0, "fail", figures=(loose,)), record(1, "pass", figures=(CLOSE,))])
    assert Summary(run).tolerated == 1
    shown = text.render(run)
    assert "1 record judged by an explicit tolerance" in shown
    assert "x allowed [tolerance, cases/f.yaml:9] at" in shown
