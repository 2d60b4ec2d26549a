"""The power lint: on the shipped suite, and on suites that could show nothing."""

from __future__ import annotations

import json

import pytest

from conformance.cli.command import invoke
from conformance.power import ENOUGH, Power, lint, usable
from conformance.suite.loader import load_suite
from references.mistakes import MISTAKES


@pytest.fixture(scope="module")
def shipped():
    return [row for rows in lint(load_suite().cases) for row in rows]


def test_the_shipped_suite_shows_every_mistake_that_can_be_seen(shipped):
    wrong = [f"{row.op} {row.dtype} {row.mistake} {row.ratio:.3g}" for row in shipped if not row.ok]
    assert wrong == []


def test_every_mistake_is_tried_on_every_op_and_dtype_that_can_make_it(shipped):
    tried = {(row.mistake, row.op, row.dtype) for row in shipped}
    assert {mistake for mistake, _, _ in tried} == set(MISTAKES)
    assert len(shipped) == len(tried) > 2000


def test_what_cannot_be_seen_is_a_short_list_with_reasons(shipped):
    unseen = {row.mistake for row in shipped if not row.seen}
    assert unseen == {
        "one-pass-variance",
        "normalised-rounded-before-affine",
        "sigmoid-absolute-accuracy",
        "tanh-by-exponentials",
    }


def test_data_far_from_eps_cannot_show_where_eps_stands(case_of):
    case = case_of("LayerNorm", (6, 64), "bfloat16", data="f8-f16-range")
    (rows,) = lint([case])
    ratio = {row.mistake: row for row in rows}["eps-outside-sqrt"]
    assert ratio.ratio < ENOUGH
    assert not ratio.ok


def test_a_reason_for_being_unseen_that_no_longer_holds_is_wrong():
    row = Power("LayerNorm", "float32", "one-pass-variance", 1e3, "a", "output", unseen="too small")
    assert not row.ok


def test_the_exhaustive_ratio_is_no_smaller_than_the_first_that_is_enough(case_of):
    cases = [case_of("LayerNorm", (6, 13), data=data) for data in ("f1-eps", "f3-offset", "scaled")]
    (quick,), (whole,) = lint(cases), lint(cases, exhaustive=True)
    assert all(a.mistake == b.mistake and a.ratio <= b.ratio for a, b in zip(quick, whole, strict=True))


def test_cases_that_must_raise_or_are_slow_show_nothing(case_of):
    assert usable(case_of("LayerNorm", (6, 13)))
    assert not usable(case_of("LayerNorm", (6, 13), marks=("slow",)))
    assert not usable(case_of("LayerNorm", (0, 13)))


def test_the_command_prints_what_it_found_and_fails_for_a_weak_suite(tmp_path, capsys):
    weak = tmp_path / "weak.yaml"
    weak.write_text("spec: 1\nop: LayerNorm\ncases:\n  - {id: one, shape: [2, 8], steps: [train], data: normal}\n")
    assert invoke(["lint", str(weak), "--workers", "1", "--format", "json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert {row["op"] for row in rows} == {"LayerNorm"}
    assert invoke(["lint", str(weak), "--workers", "1", "--all"]) == 1
    text = capsys.readouterr().out
    assert "could hide behind rounding" in text
    assert "eps-outside-sqrt" in text
