"""What the engine adds to inputs, reference, backend and comparison; cases per second; start-up; memory.

Run as ``python -m conformance.bench.engine``.  Measured on torch-cpu with cases of three steps, each with output,
gradients and buffers.  Nothing is a gate.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from conformance.backends.export_cache import SWITCH_VARIABLE
from conformance.bench import generated
from conformance.engine.execute import Tools, tools_from
from conformance.engine.plan import Plan
from conformance.engine.run import STANDARD_TOOLS, How, run
from conformance.engine.store import Store, StoredRun
from conformance.record import Header, Record
from conformance.suite.loader import load_suite

BACKEND = "torch-cpu"
MIB = 2**20
PARTS = ("inputs", "reference", "backend", "comparison")
_spent: dict[str, float] = defaultdict(float)  # seconds of the processor by part, of the run in this process


class Watch:
    """Says when a run began its work, when the first verdict came and the last, and what its processes took between."""

    def __init__(self) -> None:
        self.created = time.perf_counter()
        self.ready = self.first = self.last = 0.0
        self._expected = self._seen = 0
        self._before = self._after = (0.0, 0.0)

    def began(self, header: Header, done: int) -> None:  # noqa: ARG002 - what a listener hears
        self._expected = header.expected
        self._before = processor_seconds()
        self.ready = time.perf_counter()

    def recorded(self, record: Record) -> None:  # noqa: ARG002 - what a listener hears
        self.first = self.first or time.perf_counter()
        self._seen += 1
        if self._seen == self._expected:
            self.last, self._after = time.perf_counter(), processor_seconds()

    @property
    def busy(self) -> tuple[float, float]:
        """Processors that the workers kept busy from the header to the last record, and that the engine itself did."""
        wall = self.last - self.ready
        return (self._after[0] - self._before[0]) / wall, (self._after[1] - self._before[1]) / wall

    def noted(self, text: str) -> None:
        click.echo(f"note: {text}", err=True)


def processor_seconds() -> tuple[float, float]:
    """Of the processes that this one started and that still run (0 where there is no /proc), and of this one."""
    ticks = 0
    with suppress(OSError):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
        for child in children:
            with suppress(OSError):  # it ended meanwhile
                fields = Path(f"/proc/{child}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])  # utime and stime
    return ticks / os.sysconf("SC_CLK_TCK"), time.process_time()


def _timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        start = time.process_time()
        try:
            return function(*arguments)
        finally:
            _spent[part] += time.process_time() - start

    return timed


def metered() -> Tools:
    """The tools of a real run, with a clock on each part."""
    tools = tools_from(STANDARD_TOOLS)
    compare = _timed("comparison", tools.judge)

    def load(name: str) -> Any:
        backend = tools.load(name)
        backend.run = _timed("backend", backend.run)  # type: ignore[method-assign]  # of this one alone
        return backend

    def judge(case: Any, expectation: Any, *others: Any) -> Any:
        _timed("reference", expectation.steps)()  # the judge then finds it computed
        return compare(case, expectation, *others)

    return replace(tools, load=load, make_inputs=_timed("inputs", tools.make_inputs), judge=judge)


def carry_out(plan: Plan, folder: Path, **how: Any) -> tuple[StoredRun, Watch, float]:
    """A run, who watched it, and when it ended."""
    watch = Watch()
    done = run(plan, Store.create(folder), Header(), watch, How(**how))
    return done, watch, time.perf_counter()


def with_workers(plan: Plan, folder: Path, workers: int) -> float:
    """Print a line for a run in worker processes and return cases per second."""
    done, watch, end = carry_out(plan, folder, workers=workers)
    busy = sum(record.seconds for record in done.records)
    wall = end - watch.ready
    rate = len(done.records) / wall
    outside, wait = 1 - busy / wall / workers, watch.first - watch.created
    name = f"{workers} worker{'s' if workers > 1 else ''}"
    by_workers, by_engine = watch.busy
    click.echo(
        f"{name:<12}{rate:12.1f} cases/s   {outside:5.1%} of the workers' wall time outside of cases   "
        f"first verdict after {wait:.1f} s   cores busy: {by_workers:.2f} with workers, {by_engine:.2f} with the engine"
    )
    return rate


def in_process(plan: Plan, folder: Path, title: str) -> None:
    """Print where the time goes, in a process without workers, in milliseconds of the processor."""
    how = {"in_process": True, "tools": f"{__name__}:metered"}
    carry_out(Plan(plan.cases[:8], plan.backends), folder, **how)  # warms up
    _spent.clear()
    start = time.process_time()
    done, _, _ = carry_out(plan, folder, **how)
    spent, whole = dict(_spent), time.process_time() - start
    click.echo(f"in process, {title}: {len(done.records) / whole:.1f} cases/s")
    for part in PARTS:
        click.echo(f"  {part:<14}{1000 * spent[part] / len(done.records):8.2f} ms/case {spent[part] / whole:7.1%}")
    rest = whole - sum(spent[part] for part in PARTS)
    each = 1000 * rest / len(done.records)
    click.echo(f"  {'everything else':<14}{each:8.2f} ms/case {rest / whole:7.1%}   (goal: under 15 %)")


def start_up(key: str) -> float:
    """Seconds from the command to its report, for one case of the shipped suite."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-m", "conformance", "run", "--key", key, "--backend", BACKEND]
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - arguments of our own
        return time.perf_counter() - start


@click.command()
@click.option("--cases", default=2400, metavar="N", help="Generated cases; 2400.")
def main(cases: int) -> None:
    """Measure the engine on torch-cpu."""
    with tempfile.TemporaryDirectory(prefix="conformance-bench-") as name:
        folder = Path(name)
        os.environ["CONFORMANCE_CACHE_DIR"] = str(folder / "cache")
        plan = Plan(load_suite([generated.write(folder / "suite", cases)]).cases, (BACKEND,))
        first = load_suite().cases[0]
        click.echo(f"{len(plan.cases):,} cases of three steps on {BACKEND}")
        carry_out(plan, folder / "kept", in_process=True)  # so that both find the results of references kept
        one = with_workers(plan, folder / "1", 1)
        two = with_workers(plan, folder / "2", 2)
        click.echo(f"2 workers are {two / one:.2f} times as fast as 1")
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
        click.echo(f"memory of the engine with its workers at work: {own:.0f} MiB")
        in_process(plan, folder / "0", "references kept")
        os.environ[SWITCH_VARIABLE] = "off"
        in_process(plan, folder / "0", "references computed")
        click.echo(f"one case, from the command to its report: {start_up(first.key):.1f} s")


if __name__ == "__main__":
    main()
