"""``conformance calibrate``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from conformance.cli.output import check_writable
from conformance.errors import UsageError

HELP = """Measure the allowance itself: correct implementations must pass, planted mistakes must fail.

Thousands of random configurations are computed by implementations that are known to be stable, by torch and by
onnxruntime, and by implementations with one mistake in each.  Ends with exit code 1 if a correct one fails.

\b
Examples:
  conformance calibrate --quick                 under a minute
  conformance calibrate -o table.md             262,144 executions
  conformance calibrate --seed 1 --index 383    one configuration, execution by execution
"""


@click.command("calibrate", help=HELP)
@click.option("--quick", is_flag=True, help="8,192 executions in place of 262,144.")
@click.option("--executions", type=click.IntRange(min=1), help="At least so many, of correct implementations.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another campaign.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; by default one for each core.")
@click.option("--index", type=click.IntRange(min=0), help="Show one configuration instead.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Also write the table here.")
def command(
    quick: bool,
    executions: int | None,
    seed: int,
    workers: int | None,
    index: int | None,
    output: Path | None,
) -> int:
    if quick and executions is not None:
        raise UsageError("--quick and --executions both say how many", hint="leave one of them out")
    check_writable(output)
    from conformance.calibration.table import listing, table

    if index is not None:
        from conformance.calibration.draw import draw_case, draw_powers
        from conformance.calibration.examine import examine

        case = draw_case(seed, index)
        scale = "input and upstream gradient times 2^{} and 2^{}".format(*draw_powers(case, seed, index))
        _deliver(f"{_spelled(case)}\n    scale: {scale}\n\n{listing(examine(seed, index))}", output)
        return 0
    from conformance.calibration.campaign import FULL, QUICK, campaign

    wanted = executions or (QUICK if quick else FULL)
    tally = campaign(wanted, seed=seed, workers=workers or os.cpu_count() or 1, progress=_progress(wanted))
    _deliver(table(tally), output)
    return 1 if tally.false_alarms else 0


def _spelled(case: object) -> str:
    import msgspec

    fields = {name: value for name, value in msgspec.to_builtins(case).items() if name not in ("key", "origin")}
    return "\n".join(f"    {name}: {value}" for name, value in fields.items())


def _deliver(text: str, output: Path | None) -> None:
    if output is not None:
        output.write_text(text, encoding="utf-8")
    click.echo(text, nl=False)


def _progress(wanted: int) -> Callable[[int], None]:
    """Twenty lines on standard error, or one that is drawn over on a terminal."""
    shown = 0
    live = sys.stderr.isatty()

    def say(done: int) -> None:
        nonlocal shown
        step = min(20, done * 20 // wanted) if not live else done * 200 // wanted
        if step > shown:
            shown = step
            text = f"{min(done, wanted):,} of {wanted:,} executions"
            click.echo(f"\r{text}" if live else text, err=True, nl=not live or done >= wanted)

    return say
