"""How a case is exported: ``export`` in case files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conformance.ops import OPS
from conformance.suite.case import Export
from conformance.suite.loader import load_suite
from conformance.suite.sample import export_sample
from conformance.suite.why import explain_case

GROUP = """
defaults: {shape: [2, 3, 4, 5], export: {opset: 18}}
groups:
  - id: g
    set: {export: {optimisation: off}}
    vary:
      export.dynamic: [false, true]
      export.opset: [null, 18, 23]
"""


def test_every_part_comes_from_the_nearest_layer_that_says_it(load: Callable[..., Any]) -> None:
    cases = {case.id: case.export for case in load(GROUP).cases}
    assert cases == {
        "a::g[opset=null]": Export(optimisation="off"),
        "a::g": Export(opset=18, optimisation="off"),
        "a::g[opset=23]": Export(opset=23, optimisation="off"),
        "a::g[dynamic,opset=null]": Export(dynamic=True, optimisation="off"),
        "a::g[dynamic]": Export(dynamic=True, opset=18, optimisation="off"),
        "a::g[dynamic,opset=23]": Export(dynamic=True, opset=23, optimisation="off"),
    }


@pytest.mark.parametrize("export", ["{dynamic: true}", "{opset: 18}", "{optimisation: off}"])
def test_an_export_that_is_not_the_usual_one_is_another_case(load: Callable[..., Any], export: str) -> None:
    base = "cases: [{id: a, shape: [2, 3, 4, 5]"
    (plain,), (other,) = (load(f"{base}{more}}}]\n").cases for more in ("", f", export: {export}"))
    assert plain.key != other.key


def test_saying_the_usual_export_changes_no_key(load: Callable[..., Any]) -> None:
    base = "cases: [{id: a, shape: [2, 3, 4, 5]"
    said = ", export: {dynamic: false, opset: null, optimisation: all}"
    (plain,), (other,) = (load(f"{base}{more}}}]\n").cases for more in ("", said))
    assert plain.key == other.key


def test_rules_and_divergences_can_ask_for_it(load: Callable[..., Any]) -> None:
    rules = "    rules:\n      - {when: {export.dynamic: true, export.opset: 23}, skip: not today}\n"
    divergences = "divergences:\n  - {id: d, when: {export.dynamic: true}, why: known, size: {output: [0, 1]}}\n"
    suite = load(GROUP + rules + divergences)
    assert len(suite.cases) == 5
    assert {case.export.dynamic for case in suite.cases if case.divergences} == {True}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cases: [{id: a, shape: [2, 3, 4, 5], export: {dynamc: true}}]", "dynamc"),
        ("cases: [{id: a, shape: [2, 3, 4, 5], export: {opset: 3}}]", "opset"),
        ("cases: [{id: a, shape: [2, 3, 4, 5], export: {optimisation: some}}]", "optimisation"),
        ("groups: [{id: a, set: {shape: [2, 3, 4, 5]}, vary: {export.opst: [18]}}]", "did you mean 'export.opset'"),
        ("groups: [{id: a, set: {shape: [2, 3, 4, 5]}, vary: {export.opset: [x]}}]", "export.opset"),
    ],
)
def test_mistakes_in_it_are_said(problems: Callable[..., list[str]], text: str, said: str) -> None:
    assert any(said in problem for problem in problems(f"{text}\n"))


def test_why_names_who_set_each_part(load: Callable[..., Any]) -> None:
    reasons = {reason.field: reason for reason in explain_case(load(GROUP), "a::g[dynamic,opset=23]").reasons}
    assert reasons["export.dynamic"].source == "axis of group 'g'"
    assert reasons["export.optimisation"].source == "set of group 'g'"
    assert reasons["export.opset"].value == 23


def test_every_layer_is_exported_with_open_sizes_several_opsets_and_without_optimiser() -> None:
    suite = load_suite()
    by_op: dict[str, list[Export]] = {}
    for case in export_sample(suite.cases):
        by_op.setdefault(case.op, []).append(case.export)
    layers = {op: exports for op, exports in by_op.items() if OPS[op].nodes is None and not OPS[op].module}
    assert len(layers) > 20
    for op, exports in layers.items():
        assert {each.dynamic for each in exports} == {True, False}, op
        assert {each.opset for each in exports} >= {None, 18, 21, 23}, op
        assert {each.optimisation for each in exports} == {"all", "off"}, op


def test_open_graphs_meet_two_sizes_each() -> None:
    sizes: dict[str, set[tuple[int, ...]]] = {}
    for case in load_suite().cases:
        if case.export.dynamic:
            sizes.setdefault(case.op, set()).add(case.shape)
    assert sizes
    assert all(len(shapes) >= 2 for shapes in sizes.values())
