"""A package that brings its own layers, through the entry point ``conformance.backends``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance import backend_of
from conformance.errors import UsageError
from conformance.inputs import make_inputs

ROOT = Path(__file__).parents[3]
PACKAGE = """
import torch
from torch import nn


class Norm(nn.Module):
    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        super().__init__()
        self.inner = nn.LayerNorm(normalized_shape, eps, elementwise_affine, bias)

    def forward(self, x):
        return self.inner(x)


def backend():
    from conformance import backend_of

    return backend_of("mypackage", {"LayerNorm": "mypackage:Norm"})
"""
CASES = """
spec: 1
op: LayerNorm
defaults: {shape: [4, 6], steps: [train]}
cases:
  - {id: plain}
  - {id: other, op: RMSNorm}
"""


@pytest.fixture
def installed(tmp_path):
    """A folder with an installed package that registers a backend."""
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "__init__.py").write_text(PACKAGE)
    about = tmp_path / "mypackage-1.2.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\\nName: mypackage\\nVersion: 1.2.3\\n".replace("\\n", "\n"))
    (about / "entry_points.txt").write_text("[conformance.backends]\nmypackage = mypackage:backend\n")
    (tmp_path / "few.yaml").write_text(CASES)
    return tmp_path


def test_a_package_that_registers_a_backend_is_run_by_its_name_in_worker_processes(installed):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "conformance", "run", "few.yaml", "--backend", "mypackage", "--workers", "1"],
        cwd=installed,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mypackage 1.2.3" in done.stdout
    assert "1 pass  1 unsupported" in done.stdout
    assert "1 on mypackage: mypackage has no RMSNorm" in done.stdout


def test_what_a_package_lacks_and_whose_versions_are_told(case_of):
    backend = backend_of("mine", {"LayerNorm": "candidates:layer_norm"}, distribution="numpy")
    assert backend.available() is None
    assert set(backend.versions()) == {"torch", "numpy"}
    assert backend.unsupported(case_of("RMSNorm")) == "mine has no RMSNorm"
    case = case_of("LayerNorm")
    assert backend.unsupported(case) is None
    assert backend.run(case, make_inputs(case)).raised is None


def test_a_layer_without_a_backward_shows_no_gradients_and_the_next_one_does(case_of):
    backend = backend_of("mine", {"LayerNorm": "candidates:numpy_layer_norm", "BatchNorm2d": "candidates:Renamed"})
    for op, observes in (("LayerNorm", ("output", "buffer")), ("BatchNorm2d", ())):
        backend.run(case_of(op), make_inputs(case_of(op)))
        assert backend.observes == observes


def test_a_layer_that_cannot_be_found_makes_the_backend_missing_and_says_why():
    why = backend_of("mine", {"LayerNorm": "candidates:layer_nrom"}).available()
    assert why.startswith("LayerNorm: the candidate cannot be used: candidates has no 'layer_nrom'; did you mean")


def test_an_unknown_op_is_a_usage_error():
    with pytest.raises(UsageError, match="'LayerNrom' is not an op; did you mean 'LayerNorm'"):
        backend_of("mine", {"LayerNrom": "candidates:layer_norm"})
