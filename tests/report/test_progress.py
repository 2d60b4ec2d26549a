"""Somebody who waits sees where a run is, whether or not records come."""

from __future__ import annotations

import io
import re
import time

import pytest

from conformance.record import Header, Record
from conformance.report.progress import Progress

RECORD = Record(id="a", key="k", backend="mine", op="LayerNorm", dtype="float32", verdict="fail", where="x.yaml:1")


class Terminal(io.StringIO):
    def isatty(self):
        return True

    @property
    def seen(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def watch():
    """A progress on a stream, closed in the end."""
    made = []

    def on(stream, **given):
        made.append(Progress(stream, **given))
        return made[-1]

    yield on
    for each in made:
        each.close()


def until(seen, text, seconds=5.0):
    end = time.monotonic() + seconds
    while text not in seen() and time.monotonic() < end:
        time.sleep(0.02)
    return text in seen()


def test_the_bar_comes_by_itself_though_nothing_is_said(watch):
    stream = Terminal()
    watch(stream, patience=0.05)
    assert until(lambda: stream.seen, "starting")


def test_what_it_is_at_is_shown_beside_the_count(watch):
    stream = Terminal()
    progress = watch(stream, patience=0.0)
    progress.began(Header(conformance="0", expected=3), 0)
    progress.recorded(RECORD)
    progress.doing("looking for the smallest case that fails in output")
    assert until(lambda: stream.seen, "looking for the smallest case")
    assert "1 of 3 records  1 failed" in stream.seen


def test_a_short_run_shows_nothing(watch):
    for stream in (Terminal(), io.StringIO()):
        progress = watch(stream, patience=60.0)
        progress.recorded(RECORD)
        progress.doing("anything")
        progress.close()
        assert stream.getvalue() == ""


def test_a_log_gets_a_line_when_the_run_turns_to_something_else(watch):
    stream = io.StringIO()
    progress = watch(stream, patience=0.0)
    progress.began(Header(conformance="0", expected=2), 0)
    progress.recorded(RECORD)
    assert stream.getvalue() == ""  # not with every record
    progress.doing("looking for what the failing cases have in common")
    assert "1 of 2 records  50%" in stream.getvalue()
    assert "1 failed  looking for what the failing cases have in common\n" in stream.getvalue()


def test_a_log_gets_a_line_though_nothing_is_said_and_again_later(watch):
    stream = io.StringIO()
    progress = watch(stream, patience=0.0, silence=0.05)
    assert until(stream.getvalue, "0 s  starting\n")
    progress.began(Header(conformance="0", expected=3), 0)
    assert until(stream.getvalue, "0 of 3 records  0%  0 s  none failed  starting\n")
    progress.close()
    said = stream.getvalue()
    time.sleep(0.15)
    assert stream.getvalue() == said


def test_after_the_end_nothing_is_drawn(watch):
    stream = Terminal()
    progress = watch(stream, patience=0.05)
    progress.close()
    time.sleep(0.15)
    progress.doing("anything")
    assert "anything" not in stream.seen
