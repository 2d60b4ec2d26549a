"""Time and memory of listing, running and reporting suites of growing size, each in a process of its own.

Run as ``python -m conformance.bench.scale``.  Seconds are of the wall, workers at work; beside them those
of the processor that the engine itself took.  Memory is the most that the engine itself ever held; its workers are
bounded each for itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click

from conformance.bench import generated

MIB = 2**20
_MEASURED = """
import json, resource, sys
from conformance.cli.command import invoke
code = invoke(sys.argv[1:])
own = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([code, own.ru_utime + own.ru_stime, own.ru_maxrss]), file=sys.stderr)
"""


class Measured(NamedTuple):
    """One command: exit code, seconds by the wall and of its own by the processor, bytes of memory at most."""

    code: int
    wall: float
    cpu: float
    memory: int


def measure(folder: Path, *arguments: str) -> Measured:
    """Run ``conformance`` with these arguments in a folder, and throw away what it says."""
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - this interpreter, and arguments of our own
        [sys.executable, "-c", _MEASURED, *arguments],
        cwd=folder,
        env={**os.environ, "CONFORMANCE_CACHE_DIR": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    code, cpu, kibibytes = json.loads(done.stderr.splitlines()[-1])
    return Measured(code, time.perf_counter() - start, cpu, kibibytes * 1024)


@click.command()
@click.option("--cases", "sizes", multiple=True, type=int, default=(1_000, 10_000), metavar="N", help="Suite sizes.")
@click.option("--workers", default=2, metavar="N", help="Worker processes; 2.")
@click.option("--tools", default="", hidden=True)
def main(sizes: tuple[int, ...], workers: int, tools: str) -> None:
    """Measure suites of these sizes on torch-cpu."""
    click.echo(
        f"{'cases':>9}  {'command':<8}{'wall s':>9}{'own cpu s':>11}{'cases/s':>9}{'ms/case':>9}{'engine MiB':>12}"
    )
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="conformance-scale-") as name:
            folder = Path(name)
            suite = generated.write(folder / "suite", size)
            other = ["--tools", tools] if tools else []
            run = ["run", str(suite), "--backend", "torch-cpu", "--workers", str(workers), *other]
            for verb, arguments in (
                ("list", ["list", str(suite)]),
                ("run", run),
                ("report", ["report", "--format", "md"]),
            ):
                found = measure(folder, *arguments)
                if found.code:
                    raise click.ClickException(f"conformance {' '.join(arguments)} ended in {found.code}")
                rate, each = size / found.wall, 1000 * found.wall / size
                click.echo(
                    f"{size:>9,}  {verb:<8}{found.wall:>9.1f}{found.cpu:>11.1f}{rate:>9.0f}{each:>9.2f}"
                    f"{found.memory / MIB:>12.0f}"
                )


if __name__ == "__main__":
    main()
