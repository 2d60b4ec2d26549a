"""How much time and memory one case may take before that becomes its verdict."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from conformance.suite.case import Case

GIB = 1 << 30


def machine_memory() -> int:
    """Bytes of memory of this machine; 16 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 16 * GIB


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def default_workers() -> int:
    """One per core, but never more than one per 2 GiB: each holds torch, onnxruntime and the exporters."""
    return max(1, min(cores(), machine_memory() // (2 * GIB)))


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds per case on one backend (``slow`` for cases so marked), bytes of resident memory per worker."""

    case_seconds: float = 60.0
    slow_seconds: float = 600.0
    start_seconds: float = 300.0
    prepare_seconds_per_case: float = 5.0
    memory: int = 8 * GIB

    def of_case(self, case: Case) -> float:
        """Seconds that this case may take."""
        return max(self.slow_seconds, self.case_seconds) if "slow" in case.marks else self.case_seconds

    def of_prepare(self, cases: int) -> float:
        """Seconds that preparing so many cases at once may take."""
        return self.case_seconds + self.prepare_seconds_per_case * cases


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process, or None where the system does not say (no /proc)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None
