"""What the formats say of the same run."""

from __future__ import annotations

import io
import json
import re
from xml.etree import ElementTree as ET

import msgspec
import pytest
from rich.console import Console
from stored_runs import HEADER, OVER, record, stored

from conformance.engine.store import read_run
from conformance.record import VERDICTS
from conformance.report.formats import FORMATS
from conformance.report.progress import Progress
from conformance.report.terminal import console_for, draw, render


def test_the_terminal_report_says_what_a_failure_is_where_and_how_to_repeat_it():
    text = render(stored())
    assert "F  fake::n1  torch-cpu  step 1 output    cases/fake.yaml:11" in text
    assert "error 4.1 x allowed at [1, 0, 3]: got 0.5127, expected 0.5142 (6.6 ulp), 4 of 48 values" in text
    assert "also: step 0 shape got 4x3, expected 3x4" in text
    assert "again: conformance run --key 000000000001 --backend torch-cpu" in text


def test_the_headline_says_that_cuda_is_missing_and_for_how_many_cases():
    text = render(stored())
    assert "torch 2.13.0+cpu   onnxruntime 1.31.1   numpy 2.4.6   CUDA: none (no CUDA device), 1 missing" in text
    assert "1,234 of them are not sent to onnx-dynamo" in text


def test_a_device_that_was_not_asked_for_is_said_too():
    header = msgspec.structs.replace(HEADER, machine={"cuda": "NVIDIA H100"}, backends=("torch-cpu",))
    assert "CUDA: NVIDIA H100, not asked for" in render(stored([record(0, "pass")], header=header))


def test_counts_add_up_in_the_last_lines():
    text = render(stored())
    assert (
        "1 pass  1 fail  1 error  1 crash  1 timeout  1 known  1 fixed  1 unsupported  1 missing  = 9 records" in text
    )


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_every_verdict_is_readable_at_every_width_without_colour(width):
    text = render(stored(), width=width)
    assert "\x1b[" not in text
    for glyph in (". 1", "F 1", "E 1", "C 1", "T 1", "k 1", "x 1", "u 1", "- 1"):
        assert glyph in text


def test_on_a_terminal_sentences_go_on_under_themselves_and_commands_stay_whole():
    why = "the exporter drops train mode " * 8
    header = msgspec.structs.replace(HEADER, extra={"divergences": {"gap": {"why": why, "where": "cases/f.yaml:52"}}})
    stream = io.StringIO()
    terminal = Console(file=stream, width=80, force_terminal=True, no_color=True, highlight=False, markup=False)
    draw(stored(header=header), terminal)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    told = [line for line in shown.splitlines() if "exporter" in line]
    assert len(told) == 3
    assert all(line.startswith("   ") and len(line) <= 80 for line in told)
    assert why.strip() in render(stored(header=header))
    again = [line for line in render(stored()).splitlines() if "conformance run --key" in line]
    assert all(line in shown.splitlines() for line in again)


def test_a_run_that_was_interrupted_before_its_first_record_counts_none():
    assert "\n0 records\n" in render(stored([], complete=False))


def test_an_interrupted_run_says_so_and_how_to_finish_it():
    run = stored(complete=False)
    text = render(run)
    assert "interrupted after 9 of 9 records" in text
    assert "conformance run --resume" in text
    assert 'type="interrupted"' in FORMATS["junit"](run)
    assert "::error title=interrupted" in FORMATS["github"](run)
    assert "interrupted after" in FORMATS["md"](run)


def test_failures_alike_are_told_once_and_counted():
    text = render(stored([record(number, "fail", "x", figures=(OVER,)) for number in range(30)]))
    assert text.count("again:") == 1
    assert "and 29 more like it (BatchNorm2d float32 on torch-cpu), the worst 4.1 x allowed" in text
    assert render(stored([record(number, "fail", "x") for number in range(30)]), limit=0).count("again:") == 30


def test_more_kinds_of_failure_than_fit_are_counted():
    text = render(stored([record(number, "error", f"reason {number // 2}") for number in range(30)]), limit=5)
    assert text.count("again:") == 5
    assert "... and 20 more failures of 10 other kinds" in text


def test_colour_is_left_out_when_asked_by_the_environment(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def drawn():
        stream = Terminal()
        draw(stored([record(0, "pass")]), console_for(stream))
        return stream.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m" in drawn()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in drawn()


def test_jsonl_is_the_record_file(tmp_path):
    run = stored()
    (tmp_path / "records.jsonl").write_text(FORMATS["jsonl"](run))
    again = read_run(tmp_path)
    assert (again.header, again.records, again.footer) == (run.header, run.records, run.footer)


def test_json_holds_every_record_and_the_counts():
    document = json.loads(FORMATS["json"](stored()))
    assert document["counts"] == dict.fromkeys(VERDICTS, 1)
    assert len(document["records"]) == 9
    assert document["exit_code"] == 1


def test_junit_is_well_formed_xml_whose_counts_are_those_of_the_verdicts():
    root = ET.fromstring(FORMATS["junit"](stored()))
    assert {kind: root.get(kind) for kind in ("tests", "failures", "errors", "skipped")} == {
        "tests": "9",
        "failures": "1",
        "errors": "3",
        "skipped": "2",
    }
    case = root.find(".//testcase[failure]")
    assert (case.get("name"), case.get("file"), case.get("line")) == ("fake::n1[torch-cpu]", "cases/fake.yaml", "11")
    assert "error 4.1 x allowed" in case.find("failure").text


def test_github_annotates_the_line_of_the_case_file():
    lines = FORMATS["github"](stored()).splitlines()
    (failure,) = [line for line in lines if "fake%3A%3An1 " in line]
    assert failure.startswith("::error file=cases/fake.yaml,line=11,title=F")
    assert "%0A" in failure
    assert sum(line.startswith("::error") for line in lines) == 4
    assert sum(line.startswith("::warning") for line in lines) == 1


def test_markdown_tables_survive_pipes_and_angle_brackets_in_reasons():
    text = FORMATS["md"](stored())
    (row,) = [line for line in text.splitlines() if line.startswith("| [gap]")]
    assert row.replace("\\|", "").count("|") == 5
    assert "&lt;train>" in row


def test_progress_is_silent_for_short_runs_and_counts_failures_in_long_ones(monkeypatch):
    clock = iter([0.0, *(n * 10.0 for n in range(100))])
    stream = io.StringIO()
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    progress = Progress(stream)
    progress.began(msgspec.structs.replace(HEADER, expected=4, missing={}), 0)
    progress.recorded(record(0, "pass"))
    assert stream.getvalue() == ""
    progress.recorded(record(1, "fail"))
    progress.recorded(record(2, "pass"))
    progress.recorded(record(3, "pass"))
    monkeypatch.undo()
    progress.close()
    assert stream.getvalue() == "3 of 4 records  75%  20 s  1 failed\n"
