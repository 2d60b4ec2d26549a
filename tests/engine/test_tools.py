"""The tools of a real run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conformance import backends
from conformance.engine import tools

ROOT = Path(__file__).parents[2]


def test_what_is_said_of_cuda_without_torch_is_what_torch_says():
    missing = backends.load("torch-cuda").available()
    assert tools.devices() == {"cuda": f"none ({missing})" if missing else "present"}


def test_a_torch_without_cuda_need_not_be_imported_to_say_so(monkeypatch):
    monkeypatch.setattr(tools, "version_of", lambda package: "9.9.9+cpu")
    monkeypatch.setattr(backends, "load", None)
    assert tools.devices() == {"cuda": "none (no CUDA device (torch 9.9.9+cpu))"}


def test_the_tools_themselves_import_no_framework():
    code = (
        "import sys; from conformance.engine.tools import standard; standard();"
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
