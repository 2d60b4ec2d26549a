"""``conformance repro`` as it is typed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conformance.cli.command import USAGE
from conformance.suite.loader import load_suite


@pytest.fixture(scope="session")
def known():
    """The key of a case that torch-cpu is known to deviate on, with a definition that fits on a screen."""
    cases = [case for case in load_suite(None).cases if case.op == "LayerNorm" and len(case.steps) == 1]
    return next(
        case for case in cases if "layer_norm-torch-cpu-half" in case.divergences and case.data == "f4-tail"
    ).key


def test_a_script_is_printed_and_fails_by_itself(call, known, tmp_path):
    done = call("repro", known, "--backend", "torch-cpu")
    assert done.code == 0, done.err
    assert "conformance" not in "".join(line for line in done.out.splitlines() if "import" in line)
    (tmp_path / "shown.py").write_text(done.out)
    ran = subprocess.run([sys.executable, "shown.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr
    assert "error" in ran.stdout


def test_the_worst_of_the_last_run_is_taken_where_nothing_is_named(call, known, tmp_path):
    assert call("run", "--key", known, "--backend", "torch-cpu", "--in-process").code == 0
    done = call("repro", "-o", "shown.py")
    assert done.code == 0, done.err
    assert f"conformance repro {known} --backend torch-cpu" in done.err
    assert "run it with: python shown.py" in done.err
    assert known in (tmp_path / "shown.py").read_text()


def test_a_case_that_passes_has_nothing_to_reproduce(call):
    passing = next(case for case in load_suite(None).cases if case.op == "LayerNorm" and case.dtype == "float32")
    done = call("repro", passing.key, "--backend", "torch-cpu")
    assert done.code == 5
    assert "nothing to reproduce" in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nosuch", "--backend", "torch-cpu"], "nosuch"),
        (["0123456789ab"], "--backend"),
        (["--backend", "torch-cpu"], "a case"),
        (["x", "--backend", "torch-gpu"], "did you mean"),
    ],
)
def test_what_is_not_meant_so_is_a_usage_error(call, arguments, told):
    done = call("repro", *arguments)
    assert done.code in (USAGE, 5)
    assert told in done.err
    assert "Traceback" not in done.err


def test_somebody_elses_layer_gets_no_script_of_torchs_but_the_command_for_a_debugger(call):
    done = call("repro", "0123456789ab", "--backend", "check:mine.py:Norm?like=LayerNorm", "--path", "my cases.yaml")
    assert (done.code, done.out) == (USAGE, "")
    command = "conformance run 'my cases.yaml' --id 0123456789ab --backend 'check:mine.py:Norm?like=LayerNorm'"
    assert f"{command} --in-process" in done.err


def test_who_waits_is_told_what_it_is_at(call, monkeypatch):
    said = []

    class Watched:
        def doing(self, text):
            said.append(text)

        def close(self):
            said.append("closed")

    monkeypatch.setattr("conformance.report.progress.Progress", Watched)
    assert call("repro", "nosuch", "--backend", "torch-cpu").code == USAGE
    assert said == ["running the case again", "closed"]


def test_without_a_run_it_says_what_to_do(call):
    done = call("repro")
    assert done.code != 0
    assert "Traceback" not in done.err
