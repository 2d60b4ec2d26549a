"""The command ``conformance``: its verbs, and how each way to end becomes an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from conformance import __version__
from conformance.errors import ConformanceError, InternalError

VERBS = {
    "run": "Run cases on backends and report.",
    "check": "Check your own layer against the definition of an op.",
    "list": "List the cases, or explain where one comes from.",
    "explain": "Explain a topic or a mistake, with numbers of this machine.",
    "repro": "Write a script that shows a failure without conformance.",
    "report": "Draw the report of a stored run again.",
    "merge": "Join the parts of a run that were made with --shard.",
    "lint": "Say whether the cases could show a mistake at all.",
    "doctor": "Say what is here, what is missing, and how to get it.",
    "calibrate": "Measure the allowance: correct implementations pass, planted mistakes fail.",
    "cache": "Say what is kept of earlier exports, or remove it.",
    "schema": "Print the JSON Schema of case files, for editors.",
}

INTERRUPTED, INTERNAL, USAGE = 2, 3, 4
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # the disk, or what stands in its place, takes no more

EXAMPLES = """\b
Examples:
  conformance run                                        everything, the main job
  conformance run --op LayerNorm --backend onnx-dynamo   one op on one backend
  conformance run my_cases.yaml -k momentum              your own case file
  conformance check mine:Norm --like LayerNorm           your own layer
  conformance list --why ID                              where a case comes from
  conformance report --format md                         the last run again, as Markdown

\b
Exit codes:
  0 ok   1 failures   2 interrupted   3 internal error   4 usage or case-file error   5 nothing selected"""


class Verbs(click.Group):
    """Imports a verb's module only when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in VERBS:
            return None
        command = import_module(f"conformance.cli.{cmd_name}_verb").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            close = get_close_matches(args[0], VERBS, n=1)
            meant = f"; did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"'{args[0]}' is not a command{meant}\nknown: {', '.join(VERBS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="conformance")
def conformance() -> None:
    """Does this layer compute what its definition says?

    Runs neural-network layers on torch and onnxruntime and judges outputs, gradients and running buffers against
    NumPy references, within the error that the mathematics allows.
    """


def invoke(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    try:
        code = conformance.main(list(arguments), prog_name="conformance", standalone_mode=False, obj=tuple(arguments))
    except SystemExit:
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):  # click noticed the closed pipe before we did
            return 0
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - every end is said as what it is
        return _ending(error)
    return code if isinstance(code, int) else 0


def _ending(error: BaseException) -> int:  # noqa: PLR0911 - one return for each way to end
    """Say how a command ended while its exception is handled, and return the exit code."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message())
            return USAGE
        case click.ClickException():
            error.show()
            return USAGE
        case click.Abort() | KeyboardInterrupt():
            click.echo("interrupted", err=True)
            return INTERRUPTED
        case ConformanceError():
            click.echo(f"internal error: {error}" if isinstance(error, InternalError) else str(error), err=True)
            return error.exit_code
        case BrokenPipeError():  # the reader, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        case OSError() if error.errno in FULL:
            click.echo(f"cannot write {error.filename or 'the output'}: {error.strerror}", err=True)
            click.echo("make room, or write elsewhere; a run is finished with: conformance run --resume", err=True)
            return INTERRUPTED
        case _:
            import traceback

            traceback.print_exc()  # which a report of it needs
            click.echo("internal error: this is a fault of conformance; please report the trace above", err=True)
            return INTERNAL
