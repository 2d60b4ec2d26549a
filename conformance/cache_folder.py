"""The one folder for what can always be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for this project; CONFORMANCE_CACHE_DIR names another."""
    named = os.environ.get("CONFORMANCE_CACHE_DIR")
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("nn-conformance")


REFERENCES_LIMIT = 1 << 30  # bytes; several times what the shipped suite needs


def references_folder() -> Path:
    """Where results of references are kept on this machine."""
    return cache_folder() / "references"


INPUTS_LIMIT = 256 * 2**20  # bytes; about six times what the shipped suite needs


def inputs_folder() -> Path:
    """Where inputs of small cases are kept on this machine."""
    return cache_folder() / "inputs"


RUNS_LIMIT = 256 * 2**20  # bytes; about five times what the shipped suite needs


def runs_folder() -> Path:
    """Where the graphs that cases come to are kept on this machine."""
    return cache_folder() / "runs"
