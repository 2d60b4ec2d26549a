"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from conformance.report.formats import FORMATS

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def selection(command: Decorated) -> Decorated:
    """Which cases."""
    for option in (
        click.argument("paths", nargs=-1, metavar="[FILE|FOLDER]..."),
        click.option("--op", "ops", multiple=True, metavar="OP", help="Only this op; may be given again."),
        narrowing,
    ):
        command = option(command)
    return command


def narrowing(command: Decorated) -> Decorated:
    """Which cases of some files, or of an op."""
    for option in (
        click.option("--dtype", "dtypes", multiple=True, metavar="DTYPE", help="Only this dtype; may be given again."),
        click.option(
            "-k",
            "keyword",
            default="",
            metavar="TEXT",
            help="Only cases that these words name, such as 'float16 and not empty'.",
        ),
        click.option("--id", "ids", multiple=True, metavar="ID", help="Only this case; * and ? match anything."),
        click.option("--key", "keys", multiple=True, metavar="KEY", help="Only the case with this key."),
        click.option("--slow", is_flag=True, help="Slow cases too."),
    ):
        command = option(command)
    return command


def workers(command: Decorated) -> Decorated:
    """How many processes."""
    return click.option(
        "--workers", type=click.IntRange(1, 256), metavar="N", help="Worker processes; one per core by default."
    )(command)


def output(default: str) -> Callable[[Decorated], Decorated]:
    """In which form, and where to."""

    def decorate(command: Decorated) -> Decorated:
        for option in (
            click.option(
                "--junitxml",
                type=click.Path(dir_okay=False, path_type=Path),
                metavar="FILE",
                help="Write JUnit XML to this file as well.",
            ),
            click.option(
                "-o",
                "--output",
                "target",
                type=click.Path(dir_okay=False, path_type=Path),
                metavar="FILE",
                help="Write the format to this file, and text to standard output.",
            ),
            click.option(
                "--format", "form", type=click.Choice(list(FORMATS)), default=default, help="The form of the report."
            ),
            click.option(
                "--all", "everything", is_flag=True, help="Show every failure in the text, not just the first."
            ),
        ):
            command = option(command)
        return command

    return decorate
