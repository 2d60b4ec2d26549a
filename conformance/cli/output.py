"""Writes a report to where it was asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from conformance.engine.store import StoredRun
from conformance.errors import UsageError
from conformance.report.formats import FORMATS


def deliver(run: StoredRun, *, form: str, target: Path | None, junitxml: Path | None, everything: bool) -> None:
    """Files first, so that a report that cannot be written is never taken for written; then standard output."""
    if junitxml is not None:
        _write(junitxml, FORMATS["junit"](run))
    if target is not None:
        _write(target, FORMATS[form](run))
        form = "text"
    if form == "text":
        from conformance.report.terminal import FAILURES_SHOWN, console_for, draw

        draw(run, console_for(sys.stdout), limit=0 if everything else FAILURES_SHOWN)
    else:
        click.echo(FORMATS[form](run), nl=False)


def check_writable(*files: Path | None) -> None:
    """Before a long run: that its reports will have a place.

    Raises:
        UsageError: a folder does not exist or may not be written.
    """
    for file in files:
        if file is None:
            continue
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a"):
                pass
        except OSError as error:
            raise UsageError(
                f"cannot write {file}: {error.strerror}", hint="choose another file for the report"
            ) from error


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}", hint="choose another file for the report") from error
