"""``conformance calibrate`` as people call it."""

from __future__ import annotations

import pytest

from conformance.calibration import campaign as campaigns
from conformance.calibration.outcome import Outcome, Worst
from conformance.calibration.tally import Tally


def test_a_small_campaign_prints_its_table_and_ends_in_the_headline(call, tmp_path):
    ended = call("calibrate", "--executions", "40", "--workers", "1", "-o", "table.md")
    assert ended.code == 0
    assert ended.out.splitlines()[-1].startswith("false alarms: 0 in ")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == ended.out
    assert "40 of 40 executions" in ended.err


def test_a_false_alarm_is_exit_code_1(call, monkeypatch):
    tally = Tally()
    alarm = Outcome(
        "own", "two-pass", 7, "LayerNorm", "float32", "float32", Worst(1.5, "output", 7, "LayerNorm"), failed=True,
        visible=False, close=False, ulps=False, said="step 0 output: error 1.5 x allowed",
    )  # fmt: skip
    tally.add([alarm])
    monkeypatch.setattr(campaigns, "campaign", lambda *_, **__: tally)
    ended = call("calibrate", "--quick")
    assert ended.code == 1
    assert "index 7, two-pass, LayerNorm: step 0 output: error 1.5 x allowed" in ended.out
    assert ended.out.splitlines()[-1].startswith("false alarms: 1 in 1 runs")


def test_one_configuration_is_spelled_out(call):
    ended = call("calibrate", "--index", "6")
    assert ended.code == 0
    assert "shape: " in ended.out
    assert "two-pass, pairwise" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--quick", "--executions", "5"), "leave one of them out"),
        (("--executions", "0"), "0 is not in the range"),
        (("-o", "/proc/no/table.md"), "cannot write"),
    ],
)
def test_a_wrong_call_is_answered_before_anything_runs(call, arguments, said):
    ended = call("calibrate", *arguments)
    assert ended.code == 4
    assert said in ended.err
    assert "Traceback" not in ended.err
