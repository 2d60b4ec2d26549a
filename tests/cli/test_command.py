from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.cli.command import VERBS, invoke


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(call, verb):
    ended = call(verb, "--help")
    assert ended.code == 0
    assert f"conformance {verb}" in ended.out.partition("Example")[2]


def test_the_help_lists_every_verb_and_exit_code(call):
    ended = call("--help")
    assert ended.code == 0
    for word in (*VERBS, "0 ok", "1 failures", "2 interrupted", "3 internal", "4 usage", "5 nothing"):
        assert word in ended.out


def test_a_mistyped_verb_is_answered_with_the_near_one(call):
    ended = call("rnu")
    assert (ended.code, "did you mean 'run'?" in ended.err) == (4, True)


def test_list_prints_ids_that_run_takes(call, case_file):
    ended = call("list", str(case_file("", "")))
    assert [line.split()[0] for line in ended.out.splitlines()] == ["some::n0", "some::n1"]
    assert "2 cases" in ended.err


def test_list_says_what_rules_removed_and_takes_no_selection_there(call, tmp_path):
    group = "{id: g, set: {shape: [2, 3]}, vary: {seed: [0, 1]}, rules: [{when: {seed: 1}, skip: too much}]}"
    (tmp_path / "a.yaml").write_text(f"spec: 1\nop: LayerNorm\ngroups:\n  - {group}\n")
    ended = call("list", "a.yaml", "--skipped")
    assert (ended.code, ended.err) == (0, "1 combination skipped\n")
    assert "too much" in ended.out
    refused = call("list", "a.yaml", "--skipped", "--op", "LayerNorm")
    assert (refused.code, refused.out) == (4, "")
    assert "conformance list FILE --skipped" in refused.err


def test_list_as_json_holds_the_whole_case(call, case_file):
    (case,) = json.loads(call("list", str(case_file("")), "--format", "json").out)
    assert (case["id"], case["op"], case["shape"]) == ("some::n0", "LayerNorm", [2, 3])


def test_list_explains_each_field_with_the_line_that_set_it(call, case_file):
    ended = call("list", str(case_file("")), "--why", "some::n0")
    (shape,) = [line for line in ended.out.splitlines() if line.startswith("  shape ")]
    assert shape.split() == ["shape", "[2,3]", "defaults", "some.yaml:4:10"]


def test_a_stored_run_is_drawn_again_in_any_format(call, run_fakes, case_file):
    ran = run_fakes(str(case_file("", "judge-fail")), "--backend", "torch-cpu")
    assert call("report").out == ran.out
    assert call("report", "--format", "junit").out.startswith("<?xml")
    assert call("report", ".conformance/latest", "--format", "github").out.startswith("::error file=some.yaml")


def test_a_report_without_a_run_says_what_to_do(call):
    ended = call("report")
    assert (ended.code, "conformance run" in ended.err) == (4, True)


def test_schema_prints_a_json_schema(call):
    assert "$schema" in json.loads(call("schema").out)


def test_doctor_says_of_every_backend_whether_it_is_here_and_how_to_get_it(call):
    ended = call("doctor")
    assert ended.code == 0
    for name in ("torch-cpu", "torch-cuda", "onnx-dynamo", "onnx-script"):
        assert f"  {name}" in ended.out
    assert ended.out.count("missing:") == ended.out.count("to get it:")
    assert all(re.match(r"  \S+  +\S", line) for line in ended.out.splitlines() if line.startswith("  onnx-"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
@pytest.mark.parametrize("verb", ["list", "explain"])
def test_a_full_disk_is_told_without_a_trace(verb):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "conformance", verb]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "cannot write the output: No space left on device\nmake room" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m conformance list | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_invoke_returns_rather_than_exits(capsys):
    assert invoke(["--version"]) == 0
    assert "conformance" in capsys.readouterr().out
