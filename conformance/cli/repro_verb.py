"""``conformance repro``."""

from __future__ import annotations

from pathlib import Path

import click

from conformance.cli.output import check_writable
from conformance.errors import UsageError

HELP = """Write a script that shows a failure or a known divergence, without conformance.

CASE is the key or the id of a case; it is run again on the backend, and what it shows now is what the script shows.
Without arguments, the worst failing record of the last run in this folder is taken, or the worst known one.

The script imports torch, numpy, onnx or onnxruntime alone, and exits 1 while the fault is there.

\b
Examples:
  conformance repro
  conformance repro 9c1e04b7a2d1 --backend onnx-dynamo
  conformance repro 9c1e04b7a2d1 --backend torch-cpu -o report.py
"""


@click.command("repro", help=HELP)
@click.argument("case", required=False)
@click.option("--backend", metavar="NAME", help="The backend that shows it.")
@click.option(
    "-o", "--output", "target", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it here."
)
@click.option("--path", "paths", multiple=True, metavar="FILE|FOLDER", help="Your own case files; may be given again.")
def command(case: str | None, backend: str | None, target: Path | None, paths: tuple[str, ...]) -> int:
    if (case is None) != (backend is None):
        lacking, given = ("--backend", case) if backend is None else ("a case", f"--backend {backend}")
        raise UsageError(f"{given} is given without {lacking}", hint="conformance repro CASE --backend NAME")
    check_writable(target)
    from conformance.report.progress import Progress
    from conformance.repro.find import fault_of, worst_of_latest
    from conformance.repro.script import written

    if case is None or backend is None:
        case, backend, paths = worst_of_latest()
        click.echo(f"the worst of the last run: conformance repro {case} --backend {backend}", err=True)
    progress = Progress()
    progress.doing("running the case again")
    try:
        text = written(fault_of(case, backend, paths))
    finally:
        progress.close()
    if target is None:
        click.echo(text, nl=False)
    else:
        target.write_text(text, encoding="utf-8")
        click.echo(f"written: {target}; run it with: python {target}", err=True)
    return 0
