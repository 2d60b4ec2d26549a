"""The bench of a run whose exports are all in the cache measures what it says it measures."""

from __future__ import annotations

import time

import msgspec
import pytest

from conformance.backends import onnxruntime_session
from conformance.bench.warm import INSIDE, UNIT, Meter, deadly, every_nth_unit, warm
from conformance.engine.plan import plain_record
from conformance.suite.case import Divergence, Origin, Raises


class Clock:
    """Every reading takes a second, and whoever works moves it on."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1
        return self.now

    def work(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("conformance.bench.warm.perf_counter", made)
    return made


def test_what_one_part_calls_of_another_counts_for_the_other_and_the_meter_for_none(clock):
    meter = Meter()
    inner = meter("inner", clock.work)

    def outer():
        clock.work(20)
        for _ in range(5):
            inner(30)

    meter("outer", outer)()
    assert meter.spent["inner"] == pytest.approx(5 * 31, abs=0.1), "a reading at the end of each"
    assert meter.spent["outer"] == pytest.approx(21, abs=0.1)
    assert set(meter.spent) == {"inner", "outer"}


def test_time_counts_where_something_raises_as_well(clock):
    meter = Meter()

    def failing():
        clock.work(10)
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        meter("part", failing)()
    assert meter.spent["part"] == 11


def test_every_part_of_a_run_is_seen_and_the_runtime_is_left_as_it_was(case_of, tmp_path, monkeypatch):
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path))
    plain = onnxruntime_session.load_bytes
    cases = [case_of("LayerNorm", (4, 6), data="scaled", steps=("train", "eval"), key="0" * 12)]
    began = time.perf_counter()
    spent, records = warm(cases, {}, ("onnx-script",))
    took = time.perf_counter() - began
    assert [record.verdict for record in records] == ["pass"]
    assert all(spent[part] > 0 for part in (*INSIDE, "inputs", "graphs", "rest"))
    assert sum(spent.values()) <= took, "no time counts twice"
    assert onnxruntime_session.load_bytes is plain


def test_a_part_of_the_suite_is_whole_units_from_all_of_it():
    numbers = list(range(5 * UNIT + 7))
    assert every_nth_unit(numbers, 1) == numbers
    assert every_nth_unit(numbers, 2) == [*numbers[:UNIT], *numbers[2 * UNIT : 3 * UNIT], *numbers[4 * UNIT : 5 * UNIT]]


def test_cases_that_end_their_process_are_left_out_declared_or_not(case_of):
    here = Origin("d.yaml", 7, 5)
    declared = {
        "dies": Divergence(id="dies", when={}, why="x", raises=Raises("SIGFPE", "died"), origin=here),
        "raises": Divergence(id="raises", when={}, why="x", raises=Raises("ValueError", "no"), origin=here),
    }
    verdicts = (("crash", ""), ("timeout", ""), ("known", "dies"), ("known", "raises"), ("pass", ""), ("fail", ""))
    records = [
        msgspec.structs.replace(
            plain_record(case_of("LayerNorm", (4, 6), key=f"{place:012}"), "onnx-script", verdict, ""), divergence=name
        )
        for place, (verdict, name) in enumerate(verdicts)
    ]
    assert deadly(records, declared) == {f"{place:012}" for place in range(3)}
