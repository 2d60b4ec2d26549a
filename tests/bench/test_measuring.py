"""What measures is itself tested: that it measures what it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from conformance_fakes import __file__ as fakes

from conformance.bench import engine, generated, scale
from conformance.suite.loader import load_suite

PATHS = os.pathsep.join([str(Path(engine.__file__).parents[2]), str(Path(fakes).parent)])


@pytest.mark.parametrize("count", [8, 16, 10_008])
def test_generated_files_hold_as_many_cases_as_asked_for_all_different(tmp_path, count):
    suite = load_suite([generated.write(tmp_path / "suite", count)])
    assert len(suite.cases) == len({case.key for case in suite.cases}) == count
    assert {case.steps for case in suite.cases} == {("train", "train", "eval")}


def test_every_part_of_a_case_is_on_the_clock(monkeypatch, tmp_path):
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path))  # the bench sets both, and they are taken back here
    monkeypatch.setenv("CONFORMANCE_CACHE", "on")
    said = CliRunner().invoke(engine.main, ["--cases", "8"])
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    parts = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("  ") and "else" not in line}
    assert set(parts) == set(engine.PARTS)
    assert all(parts[part] > 0 for part in engine.PARTS)


@pytest.mark.slow
def test_the_memory_of_the_engine_hardly_grows_with_the_records_of_a_run(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PATHS)
    said = CliRunner().invoke(
        scale.main,
        ["--cases", "2000", "--cases", "40000", "--tools", "conformance_fakes:tools"],
        catch_exceptions=False,
    )
    assert said.exit_code == 0, said.output
    mebibytes = [int(line.split()[-1]) for line in said.output.splitlines() if " run " in line]
    assert mebibytes[1] - mebibytes[0] < 200, said.output
