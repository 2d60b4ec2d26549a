"""The installed wheel: what it holds, and that it works from a folder that knows nothing of the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

SITE = Path(sysconfig.get_path("purelib"))
INSTALLED = Path(find_spec("conformance").origin).is_relative_to(SITE)

pytestmark = pytest.mark.skipif(
    not INSTALLED and "TOX_ENV_NAME" not in os.environ,
    reason="this conformance is a checkout, not an installation",
)


def conformance(*arguments, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(Path(sysconfig.get_path("scripts")) / "conformance"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


def test_it_is_the_installed_package_that_is_tested():
    assert INSTALLED


def test_the_wheel_installs_neither_tests_nor_a_package_named_cases():
    assert not (SITE / "tests").exists()
    assert not (SITE / "cases").exists()


def test_the_shipped_cases_are_found_from_anywhere(tmp_path):
    listed = json.loads(conformance("list", "--format", "json", "--slow", cwd=tmp_path).stdout)
    files = {case["origin"]["file"] for case in listed}
    shipped = {str(file) for file in (SITE / "conformance" / "cases").rglob("*.yaml")}
    assert files == shipped
    assert shipped


def test_cases_run_on_every_default_backend(tmp_path):
    selection = ("--op", "LayerNorm", "--dtype", "float32", "-k", "semantics")
    done = conformance("run", *selection, "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert {record["backend"] for record in document["records"]} == {"torch-cpu", "onnx-dynamo", "onnx-script"}
    assert document["counts"]["pass"] > 10


def test_the_schema_and_the_doctor_answer(tmp_path):
    assert "$schema" in json.loads(conformance("schema", cwd=tmp_path).stdout)
    assert re.search(r"^  onnx-script +ready", conformance("doctor", cwd=tmp_path).stdout, re.MULTILINE)


def test_pytest_finds_the_plugin_once_and_only_when_asked(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    file = str(SITE / "conformance" / "cases" / "layer_norm.yaml")
    assert "no tests collected" in run("--collect-only", "-q", file)
    for asked in (("-p", "conformance.pytest_plugin"), ("--conformance",)):
        assert "layer_norm::semantics[" in run("--collect-only", "-q", file, *asked)
