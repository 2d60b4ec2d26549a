from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from conformance.engine.store import read_run


def test_a_run_without_failures_ends_in_0_and_says_that_all_agrees(run_fakes, case_file):
    ended = run_fakes(str(case_file("", "judge-known", "unsupported")))
    assert ended.code == 0, ended
    assert "agrees with its definition, but for what is known" in ended.out
    assert "= 9 records" in ended.out


def test_failures_end_in_1_and_are_told_with_file_and_line(run_fakes, case_file):
    ended = run_fakes(str(case_file("", "judge-fail")), "--backend", "torch-cpu")
    assert ended.code == 1
    assert "F  some::n1  torch-cpu  step 1 output    some.yaml:10" in ended.out


def test_what_to_do_next_after_a_failure_can_be_typed(run_fakes, call, case_file):
    ended = run_fakes(str(case_file("", "judge-fail")), "--backend", "torch-cpu")
    command = shlex.split(ended.out.partition("next: conformance list ")[2].splitlines()[0])
    assert "some.yaml" in command[0]
    assert call("list", *command).out.startswith("some::n1 ")


def test_the_command_that_a_failure_gives_runs_that_pair_alone(run_fakes, case_file):
    ended = run_fakes(str(case_file("", "judge-fail")))
    again = ended.out.partition("again: conformance run ")[2].splitlines()[0].split()
    assert "= 1 record\n" in run_fakes(*again).out


def test_a_crash_is_told_with_its_stack_and_the_run_goes_on(run_fakes, case_file):
    ended = run_fakes(str(case_file("", "segfault", "")), "--backend", "torch-cpu")
    assert ended.code == 1
    assert "the worker died with SIGSEGV" in ended.out
    assert "| Fatal Python error: Segmentation fault" in ended.out
    assert "2 pass  1 crash  = 3 records" in ended.out


def test_an_interrupted_run_ends_in_2_and_resume_finishes_it(run_fakes, case_file):
    file = case_file("", "interrupt", "")
    cut = run_fakes(str(file), "--backend", "torch-cpu", "--in-process")
    assert cut.code == 2
    assert "interrupted after 1 of 3 records" in cut.out
    assert f"next: conformance run --resume .conformance/{Path('.conformance/latest').readlink()}" in cut.out
    assert "conformance run --resume" in cut.err
    file.write_text(file.read_text().replace("interrupt", ""))
    whole = run_fakes("--resume")
    assert whole.code == 0, whole
    assert "3 pass  = 3 records" in whole.out
    assert "resumed: 1 of 3 records are there already" in whole.err
    again = run_fakes("--resume")
    assert again.code == 4
    assert "nothing to resume" in again.err


def test_resume_takes_no_other_selection(run_fakes):
    ended = run_fakes("--resume", "--op", "LayerNorm")
    assert (ended.code, "takes no other selection" in ended.err) == (4, True)


def test_an_internal_fault_ends_in_3(call, case_file):
    ended = call("run", str(case_file("")), "--tools", "conformance_fakes:broken_tools")
    assert ended.code == 3
    assert "these tools are broken" in ended.err
    ended = call("run", str(case_file("")), "--tools", "conformance_fakes:broken_tools", "--in-process")
    assert ended.code == 3
    assert "please report" in ended.err


def test_a_broken_case_file_ends_in_4_with_every_error_and_no_traceback(run_fakes, case_file):
    file = case_file("")
    file.write_text(file.read_text().replace("[2, 3]", "[2, -3]").replace("[train]", "[trian]"))
    ended = run_fakes(str(file))
    assert ended.code == 4
    assert "some.yaml:4:14" in ended.err
    assert "some.yaml:5:11" in ended.err
    assert "no case was run" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "torch-gpu"], "'torch-gpu' is not a backend; did you mean 'torch-cpu'?"),
        (["--backend", "check:mine:Norm?lik=LayerNorm"], "is not the name of a candidate: lik="),
        (["--backend", "check:mine:Norm?like=LayerNrom"], "'LayerNrom' is not an op; did you mean 'LayerNorm'?"),
        (["--op", "LayerNorn"], "did you mean 'LayerNorm'?"),
        (["--dtype", "flaot32"], "did you mean 'float32'?"),
        (["--id", "some::n00"], "did you mean 'some::n0'?"),
        (["--bakend", "x"], "--backend"),
        (["--workers", "0"], "0 is not in the range"),
        (["-o", "/proc/nowhere/x"], "cannot write"),
        (["no-such-file.yaml"], "no-such-file.yaml"),
    ],
)
def test_a_mistake_in_the_command_ends_in_4_and_is_told_with_what_may_be_meant(run_fakes, case_file, arguments, words):
    ended = run_fakes(str(case_file("")), *arguments)
    assert (ended.code, ended.out) == (4, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_an_empty_selection_ends_in_5(run_fakes, case_file):
    ended = run_fakes(str(case_file("")), "-k", "float64")
    assert (ended.code, "no case is selected" in ended.err) == (5, True)


def test_a_run_in_which_every_backend_is_missing_is_not_green(run_fakes, case_file):
    ended = run_fakes(str(case_file("")), "--backend", "torch-cuda")
    assert ended.code == 5
    assert "CUDA: none, 1 missing" in ended.out
    assert "missing, no fake device" in ended.out
    assert "nothing was checked" in ended.out


def test_standard_output_carries_the_format_alone(run_fakes, case_file):
    ended = run_fakes(str(case_file("", "judge-fail")), "--format", "json")
    assert json.loads(ended.out)["counts"] == {"pass": 3, "fail": 3}


def test_reports_are_in_their_files_when_the_command_ends(run_fakes, case_file, tmp_path):
    ended = run_fakes(str(case_file("")), "--format", "md", "-o", "deep/report.md", "--junitxml", "results.xml")
    assert "= 3 records" in ended.out
    assert "| LayerNorm | 1 pass |" in (tmp_path / "deep" / "report.md").read_text()
    assert ET.parse(tmp_path / "results.xml").getroot().get("tests") == "3"


def test_an_export_sample_is_made_when_asked_for_and_told(run_fakes, case_file):
    file = str(case_file("", "", ""))
    assert "2 of them are not sent to onnx-dynamo" in run_fakes(file, "--exports", "sample").out
    assert "not sent" not in run_fakes(file).out


def test_the_stored_run_says_what_was_asked_for(run_fakes, case_file, tmp_path):
    run_fakes(str(case_file("")), "--dtype", "float32")
    header = read_run(tmp_path / ".conformance" / "latest").header
    assert header.extra["wish"] == {"paths": [str(tmp_path / "some.yaml")], "dtypes": ["float32"]}
    assert header.command.startswith("conformance run")


def test_without_the_cache_the_workers_are_told_so(run_fakes, case_file, monkeypatch):
    monkeypatch.setenv("CONFORMANCE_CACHE", "on")  # and is taken back after the test
    assert run_fakes(str(case_file("")), "--no-cache").code == 0
    assert os.environ["CONFORMANCE_CACHE"] == "off"
