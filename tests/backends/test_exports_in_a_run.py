"""Whole runs over a cache that is deleted, cut short, overwritten or killed under them: the same records every time."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conformance.backends import kept_runs, plans
from conformance.backends.export_cache import ExportCache
from conformance.backends.models import Models
from conformance.backends.onnx_module import OnnxModule, onnx_script
from conformance.inputs import make_inputs

ROOT = Path(__file__).parents[2]
OPS = ("BatchNorm1d", "LayerNorm", "GroupNorm", "InstanceNorm2d")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path))
    return tmp_path / "exports"


@pytest.fixture
def cases(case_of):
    return [case_of(op, steps=("eval",), seed=seed) for op in OPS for seed in (0, 1)]


def _outputs(backend: OnnxModule, cases) -> list[bytes]:
    return [backend.run(case, make_inputs(case)).steps[0].arrays["output"].tobytes() for case in cases]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.export"))


def _delete(file: Path) -> None:
    file.unlink()


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _corrupt(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def _replace_with_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _forget() -> None:
    """As if another process went on: what is held in memory for all backends is gone."""
    plans._in.cache_clear()
    kept_runs._in.cache_clear()


@pytest.mark.parametrize("harm", [_delete, _truncate, _corrupt, _replace_with_a_folder])
def test_harm_to_the_files_in_mid_run_changes_no_result(harm, folder, cases):
    expected = _outputs(onnx_script(), cases)
    healthy = [file.read_bytes() for file in _files(folder)]
    assert len(healthy) == len(OPS) + len(cases), "a graph for each op and a plan for each case"
    _forget()
    backend = onnx_script()
    half = _outputs(backend, cases[:4])
    for file in (*_files(folder), *sorted(folder.with_name("runs").iterdir())):
        harm(file)
    _forget()
    assert half + _outputs(backend, cases[4:]) == expected
    assert _outputs(onnx_script(), cases) == expected
    shutil.rmtree(folder.with_name("runs"))  # what was kept in one piece and came to no harm needs none of the rest
    _forget()
    assert _outputs(onnx_script(), cases) == expected
    if harm is not _replace_with_a_folder:
        assert [file.read_bytes() for file in _files(folder)] == healthy, "what was harmed is made anew"


def test_a_second_process_exports_nothing(folder, cases):
    expected = _outputs(onnx_script(), cases)
    _forget()

    def export(module, x, form):
        raise AssertionError("exported again")

    backend = OnnxModule("onnx-script", export, None, Models.kept("script"), plans=plans.kept_plans())
    assert _outputs(backend, cases) == expected


RUN = """
import sys
sys.path.insert(0, {root!r})
from conformance.backends import onnx_module
from conformance.suite.loader import load_suite
backend = onnx_module.onnx_dynamo()
cases = [case for case in load_suite().cases if case.op == "LayerNorm" and backend.unsupported(case) is None]
print("ready", flush=True)
for case in cases[:200:4]:
    backend.prepare([case])
    print("prepared", flush=True)
"""


def test_killing_a_run_while_it_exports_poisons_nothing(folder):
    """Whatever two killed runs left behind, in whatever state, reads as whole entries or as nothing."""
    for patience in (2, 3):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN.format(root=str(ROOT))], stdout=subprocess.PIPE, text=True
        )
        for _ in range(patience):
            assert process.stdout.readline()
        time.sleep(0.1 * patience)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    cache = ExportCache(folder)
    keys = [file.stem for file in _files(folder)]
    assert keys
    assert all(cache.get(key) is not None for key in keys)
