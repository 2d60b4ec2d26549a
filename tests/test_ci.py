"""The README, the CI script and tox agree on how the project is tested."""

from __future__ import annotations

import configparser
import os
import re
import tomllib
from pathlib import Path

import conformance

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETUP = 'python -m venv .venv && .venv/bin/pip install "tox>=4,<5" && .venv/bin/tox'


def commands() -> list[str]:
    return [line.strip() for line in README.splitlines() if line.strip().startswith(SETUP)]


def test_the_readme_gives_one_command_for_the_main_job_and_one_for_the_tests():
    assert commands() == [f"{SETUP} -e conformance", f"{SETUP} -m test"]


def test_ci_runs_the_test_command_of_the_readme_and_then_the_main_job():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    code = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert code[0] == "set -euo pipefail"
    assert code[2:] == [commands()[1], ".venv/bin/tox -e calibrate -- --quick", ".venv/bin/tox -e conformance"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_tox_knows_the_environments_that_the_readme_names():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    assert "testenv:conformance" in tox
    label = re.fullmatch(r"\s*test = (.*)", tox["tox"]["labels"]).group(1).split(", ")
    assert sorted(label) == sorted(tox["tox"]["env_list"].split())
    assert "constraints.txt" in tox["testenv"]["install_command"]
    assert not (ROOT / "tox.toml").exists()


def test_the_change_log_tells_of_this_version():
    assert f"## {conformance.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_constraints_pin_packages_that_the_project_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    needed = [*project["dependencies"], *(line for name in tox for line in tox[name].get("deps", "").split())]
    known = {re.split(r"[<>=~!]", line)[0].lower() for line in needed}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert {line.partition("==")[0].lower() for line in lines} <= known
