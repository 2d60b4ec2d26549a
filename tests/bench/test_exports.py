"""The bench of exports counts what it says it counts."""

from __future__ import annotations

from conformance.bench.exports import one_at_a_time, steps_of, together


def test_graphs_and_steps_are_counted_apart(case_of):
    """Two cases that differ only in their data: four steps, in two modes, so two graphs."""
    cases = [
        case_of("LayerNorm", (4, 6), data="scaled", steps=("train", "eval"), key=f"{number:012x}", seed=number)
        for number in range(2)
    ]
    joint = together(cases)
    assert (joint.graphs, joint.steps) == (2, 4)
    assert joint.took.cpu > 0
    alone = one_at_a_time(list(steps_of(cases))[:1])
    assert (alone.graphs, alone.steps) == (1, 1)
    assert alone.line().split()[:5] == ["one", "at", "a", "time", "1"]


def test_what_torch_refuses_is_no_step(case_of):
    assert not list(steps_of([case_of("BatchNorm1d", (1, 3), steps=("train",), key="0" * 12)]))
