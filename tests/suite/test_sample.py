from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.suite.loader import load_suite
from conformance.suite.sample import export_sample, pairs_of


def test_every_pair_that_occurs_in_exportable_cases_occurs_in_the_sample() -> None:
    cases = load_suite().cases
    sample = export_sample(cases)
    able = [case for case in cases if case.raises is None and case.dtype != "int64" and case.layout == "contiguous"]
    for op in {case.op for case in able}:
        every = frozenset().union(*(pairs_of(case) for case in able if case.op == op))
        shown = frozenset().union(*(pairs_of(case) for case in sample if case.op == op))
        assert every == shown
    assert len(sample) < len(able) / 4


def test_the_sample_is_always_the_same_and_in_order() -> None:
    cases = load_suite().cases
    sample = export_sample(cases)
    assert sample == export_sample(cases)
    places = [cases.index(case) for case in sample]
    assert places == sorted(places)


def test_what_does_not_change_the_graph_needs_no_second_case(load: Callable[..., Any]) -> None:
    text = (
        "defaults: {shape: [2, 3, 4, 5]}\n"
        "groups: [{id: g, vary: {data: [normal, scaled], seed: [0, 1], layout: [contiguous, strided]}}]\n"
    )
    assert [case.id for case in export_sample(load(text).cases)] == ["a::g"]


def test_what_must_raise_is_not_exported(load: Callable[..., Any]) -> None:
    cases = load("cases: [{id: a, shape: [2, 3, 4, 5], raises: {type: E, match: m}}]\n").cases
    assert export_sample(cases) == ()
