"""What a process is at can be read by another, also when it is gone."""

from __future__ import annotations

import subprocess
import sys

from conformance.engine.whereabouts import PREPARING, RUNNING, Mark, Whereabouts

OTHER = """
import os, signal, sys
from pathlib import Path
from conformance.engine.whereabouts import RUNNING, Mark
mark = Mark(Path(sys.argv[1]))
for number in range(5):
    mark.set(RUNNING, 3, 1, number)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_was_at_last_is_known(tmp_path):
    mark = Mark(tmp_path / "mark")
    assert mark.read() == Whereabouts(0)
    subprocess.run([sys.executable, "-c", OTHER, str(tmp_path / "mark")], check=False)
    assert mark.read() == Whereabouts(5, RUNNING, unit=3, backend=1, number=4)


def test_the_same_place_again_is_another_change(tmp_path):
    mark, seen = Mark(tmp_path / "mark"), Mark(tmp_path / "mark")
    mark.set(PREPARING, 1, 2, 48)
    first = seen.read()
    mark.set(PREPARING, 1, 2, 48)
    assert first is not None
    assert seen.read() == first._replace(change=first.change + 1)


def test_a_change_under_way_is_not_taken_for_a_place(tmp_path):
    mark = Mark(tmp_path / "mark")
    mark.set(RUNNING, 1, 0, 7)
    file = tmp_path / "mark"
    torn = bytearray(file.read_bytes())
    torn[0] += 1  # begun, and not ended
    file.write_bytes(torn)
    assert Mark(file).read() is None
