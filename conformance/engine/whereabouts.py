"""What a worker process is at, in a few bytes that both sides see and that outlive it: telling so takes no message."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

_FORM = struct.Struct("=QQQQQQ")
IDLE, PREPARING, RUNNING = range(3)


class Whereabouts(NamedTuple):
    """``change`` grows with every change.

    unit: the number of the unit.  backend: its place among those of the setup.  number: of cases that are prepared,
    or the place in the unit of the assignment that runs.
    """

    change: int
    what: int = IDLE
    unit: int = 0
    backend: int = 0
    number: int = 0


class Mark:
    """The bytes, in a file that is mapped into the memory of both processes.  One of them writes."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(_FORM.size)  # no change where the other side made it
            self._bytes = mmap.mmap(file.fileno(), _FORM.size)
        self._change = 0

    def set(self, what: int, unit: int = 0, backend: int = 0, number: int = 0) -> None:
        """Say what this process is at from now on."""
        self._change += 1
        _FORM.pack_into(self._bytes, 0, self._change, what, unit, backend, number, self._change)

    def read(self) -> Whereabouts | None:
        """What the process is at, or was when it died; None while it is changing."""
        *seen, last = _FORM.unpack_from(self._bytes)
        return Whereabouts(*seen) if seen[0] == last else None

    def close(self) -> None:
        """Let go of the bytes."""
        self._bytes.close()
