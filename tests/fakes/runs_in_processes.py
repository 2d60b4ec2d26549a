"""Runs of ``killable_run`` as processes of their own, for tests that kill them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from conformance.engine.store import RECORDS
from conformance.record import Footer, Header, Line, Record

SCRIPT = Path(__file__).with_name("killable_run.py")
PATIENCE = 60.0


def timeless(file: Path) -> list[Line]:
    """Every line of a record file, but for times."""
    lines = [msgspec.json.decode(line, type=Line) for line in file.read_bytes().splitlines()]
    blank = {Record: {"seconds": 0.0}, Header: {"started": ""}, Footer: {"seconds": 0.0}}
    return [msgspec.structs.replace(line, **blank[type(line)]) for line in lines]


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    temporary = root.with_name(f"{root.name}-temporary")  # what is killed leaves its temporary files
    temporary.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(root), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


def ended(engine: subprocess.Popen[str]) -> str:
    """What it said, once it has ended."""
    return engine.communicate(timeout=PATIENCE)[1]


def begun(root: Path) -> None:
    """Wait until a run has its first record."""
    until = time.monotonic() + PATIENCE
    while not any(file.read_bytes().count(b"\n") > 1 for file in root.glob(f"*/{RECORDS}")):
        assert time.monotonic() < until, "the run does not begin"
        threading.Event().wait(0.02)
