"""Small campaigns from end to end."""

from __future__ import annotations

import re

import numpy as np
import pytest

from conformance.calibration import examine as examination
from conformance.calibration.apply import PLAIN, Layer
from conformance.calibration.campaign import campaign
from conformance.calibration.examine import examine
from conformance.calibration.mistakes import PLANTED
from conformance.calibration.stable import RECIPES
from conformance.calibration.table import headline, listing, table


@pytest.fixture(scope="module")
def small():
    return campaign(250, seed=3)


def test_correct_implementations_raise_no_false_alarm(small):
    assert small.runs >= 250
    assert small.false_alarms == []
    assert {kind for kind, _ in small.correct} == {"own", "torch", "onnxruntime"}


def test_most_visible_mistakes_are_detected(small):
    assert len(small.mistakes) > 30
    assert small.detection > 0.8


def test_the_table_ends_in_the_headline(small):
    text = table(small)
    assert text.rstrip().splitlines()[-1] == headline(small)
    form = r"false alarms: 0 in [\d,]+ runs; detection \d+\.\d %; assert_close: \d+\.\d % false alarms"
    assert re.fullmatch(form, headline(small))
    assert all(row in text for row in ("two-pass, Kahan", "torch float32", "eps-missing", "ULP distance <= 64"))


def test_one_configuration_is_the_same_every_time():
    assert examine(3, 6) == examine(3, 6)


def test_processes_change_nothing():
    alone, together = campaign(60, seed=5), campaign(60, seed=5, workers=2)
    assert table(alone) == table(together)


def test_a_mistake_that_passes_for_correct_is_a_false_alarm(monkeypatch):
    """The campaign can fail: a wrong implementation among the own ones is reported with its configuration."""

    def wrong(case, _index):
        if case.op != "LocalResponseNorm":
            yield "wrong", "", PLANTED["eps-times-ten"](case, RECIPES[0], PLAIN)
            yield "right", "", Layer(case, RECIPES[0], PLAIN)

    monkeypatch.setattr(examination, "implementations", wrong)
    monkeypatch.setattr(examination._Examination, "_frameworks", lambda _self: iter(()))
    tally = campaign(40, seed=1)
    assert tally.false_alarms
    assert {outcome.name for outcome in tally.false_alarms} == {"wrong"}
    assert f"index {tally.false_alarms[0].index}, wrong" in table(tally)


def test_a_visibly_wrong_framework_is_a_deviation_and_no_false_alarm(monkeypatch):
    """Only where no own implementation errs like it; here torch returns zeros."""
    observe = examination._Examination._frameworks

    def zeros(self):
        for kind, name, label, observation in observe(self):
            for step in observation.steps:
                step.arrays["output"] = np.zeros_like(step.arrays["output"])
            yield kind, name, label, observation

    monkeypatch.setattr(examination._Examination, "_frameworks", zeros)
    tally = campaign(60, seed=1)
    assert tally.false_alarms == []
    assert sum(row.deviations for row in tally.correct.values()) > 3
    assert "Deviations of the frameworks" in table(tally)


def test_a_listing_has_a_line_for_every_execution():
    outcomes = examine(1, 6)
    assert len(listing(outcomes).splitlines()) == len(outcomes) + 2
