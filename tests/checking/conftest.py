"""Cases of a few shipped files, loaded once."""

from __future__ import annotations

import pytest

from conformance.suite.loader import load_suite, shipped_cases

FILES = ("layer_norm.yaml", "batch_norm_2d.yaml", "group_norm.yaml", "instance_norm_2d.yaml", "procedures.yaml")


@pytest.fixture(scope="session")
def shipped():
    """Cases of several ops, with everything that a case can have."""
    return load_suite([shipped_cases() / name for name in FILES]).cases


FEW = r"""
spec: 1
op: LayerNorm
defaults: {steps: [train]}
cases:
  - {id: plain, shape: [8, 6]}
  - {id: wide, shape: [8, 6], dtype: float64}
  - {id: empty, shape: [0, 6]}
  - {id: ragged, shape: [5, 6], data: scaled, args: {eps: 1e-3}, steps: [train, eval, train]}
  - {id: refused, shape: [2, 4], args: {normalized_shape: [5]}, raises: {type: RuntimeError, match: Given}}
"""


@pytest.fixture
def files(tmp_path_factory):
    """A file of a few cases of LayerNorm."""
    file = tmp_path_factory.mktemp("few") / "few.yaml"
    file.write_text(FEW)
    return (str(file),)
