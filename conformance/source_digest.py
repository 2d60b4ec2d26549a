"""One digest for everything that decides results and does not change within a process: source, versions, machine."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np

from conformance import __version__


def source_digest(form: int, deciding: Sequence[str]) -> bytes:
    """Of every line of the references and of these files and folders of this package, of NumPy and of the machine.

    form: a number that whoever keeps something changes to make everything anew.
    """
    versions = (form, __version__, np.__version__, ml_dtypes.__version__, platform.machine(), platform.python_version())
    digest = hashlib.sha256(repr(versions).encode())
    package = Path(__file__).parent
    for place in (package.parent / "references", *(package / name for name in deciding)):
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.relative_to(package.parent).as_posix()}\n".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.digest()
