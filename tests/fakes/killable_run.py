"""Begins a run of fakes in a folder, or goes on with the one that is there; for tests that kill it."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
# ruff: noqa: E402 - it is a script of its own, too, and then must find the two first

from conformance_fakes import make_case

from conformance.engine.plan import Plan
from conformance.engine.run import How, run
from conformance.engine.store import Store, StoredRun
from conformance.errors import ConformanceError
from conformance.record import Header, Record

ABOUTS = ("", "slow", "judge-fail", "", "slow", "unsupported", "", "raise", "late-unsupported", "judge-known")
PLAN = Plan(
    tuple(
        make_case(number, ABOUTS[number % len(ABOUTS)], op=("LayerNorm", "GroupNorm")[number % 60 // 30])
        for number in range(60)
    ),
    ("fake-a", "fake-b"),
)


class Quiet:
    """Watches without a word."""

    def began(self, header: Header, done: int) -> None: ...
    def recorded(self, record: Record) -> None: ...
    def noted(self, text: str) -> None: ...


def begin(root: Path) -> Store:
    """The store of the run in ``root``: the last one where it began, else a new one."""
    try:
        return Store.resume(root / "latest")
    except ConformanceError:
        return Store.create(root)


def carry_out(root: Path, store: Store, *, workers: int = 2, executor: str = "") -> StoredRun:
    how = How(workers=workers, tools="conformance_fakes:tools", executor=executor)
    return run(PLAN, store, Header(command="test"), Quiet(), how)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells make what they start with & ignore it
    folder = Path(sys.argv[1])
    executor = sys.argv[2] if len(sys.argv) > 2 and sys.argv[2].startswith("dask:") else ""
    if len(sys.argv) > 2 and not executor:  # no file may grow beyond so many bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        carry_out(folder, begin(folder), executor=executor)
    except ConformanceError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(2)
