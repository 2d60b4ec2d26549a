"""``conformance run``."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click
import msgspec

from conformance import __version__
from conformance.backends.export_cache import SWITCH_VARIABLE
from conformance.cli import options
from conformance.cli.output import check_writable, deliver
from conformance.engine import shards
from conformance.engine.limits import GIB, Limits, default_workers
from conformance.engine.run import STANDARD_TOOLS, How, run
from conformance.engine.store import ROOT, Store, find, read_run
from conformance.engine.wish import DEFAULT_BACKENDS, Wish, grant
from conformance.errors import ConformanceError, UsageError
from conformance.record import Header
from conformance.report.progress import Progress
from conformance.report.summary import INTERRUPTED, Summary

SHORT_HELP = f"""Run cases on backends and report.

Without arguments all shipped cases run on {", ".join(DEFAULT_BACKENDS)}.

\b
Examples:
  conformance run
  conformance run --op BatchNorm2d --op LayerNorm --dtype float16
  conformance run --backend torch-cuda
  conformance run my_cases.yaml -k momentum --format md -o report.md
  conformance run --key 9c1e04b7a2d1 --backend onnx-dynamo --in-process
  conformance run --resume
  conformance run --shard 2/3
  conformance run --executor dask://10.0.0.5:8786
"""


@click.command("run", help=SHORT_HELP)
@options.selection
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="Run on this backend; may be given again.")
@click.option(
    "--exports",
    type=click.Choice(["sample", "all"]),
    default="all",
    help="Which cases go to the backends that export by dynamo, which is slow: all, or a pairwise sample of them.",
)
@click.option("--shard", metavar="I/N", help="Only part I of N, for several machines; conformance merge joins them.")
@options.workers
@click.option("--executor", default="", metavar="URL", help="On a dask cluster: dask://host:port of its scheduler.")
@click.option("--in-process", is_flag=True, help="No worker processes, for debuggers: a crash then ends the run.")
@click.option(
    "--case-timeout", type=click.FloatRange(min=0.1), default=60.0, metavar="SECONDS", help="Per case and backend; 60."
)
@click.option("--no-cache", is_flag=True, help="Make everything anew, and keep nothing for the next run.")
@click.option(
    "--memory", type=click.FloatRange(min=0.5), default=8.0, metavar="GIB", help="Memory that a worker may use; 8."
)
@click.option(
    "--resume",
    is_flag=False,
    flag_value=str(ROOT / "latest"),
    type=click.Path(path_type=Path),
    metavar="[RUN]",
    help="Finish a run that was interrupted: the last one, or that in the folder RUN.",
)
@options.output("text")
@click.option("--tools", default=STANDARD_TOOLS, hidden=True)
@click.pass_context
def command(
    ctx: click.Context,
    paths: tuple[str, ...],
    ops: tuple[str, ...],
    dtypes: tuple[str, ...],
    ids: tuple[str, ...],
    keys: tuple[str, ...],
    keyword: str,
    slow: bool,
    backends: tuple[str, ...],
    exports: Literal["sample", "all"],
    shard: str | None,
    workers: int | None,
    executor: str,
    in_process: bool,
    case_timeout: float,
    memory: float,
    no_cache: bool,
    resume: Path | None,
    form: str,
    target: Path | None,
    junitxml: Path | None,
    everything: bool,
    tools: str,
) -> int:
    wish = Wish(
        paths=paths,
        ops=ops,
        dtypes=dtypes,
        ids=ids,
        keys=keys,
        keyword=keyword,
        slow=slow,
        backends=backends or DEFAULT_BACKENDS,
        exports=exports,
    )
    if executor:
        _check_executor(executor, workers=workers, in_process=in_process, no_cache=no_cache)
    store, part = None, None if shard is None else shards.parse(shard)
    if resume is not None:
        if wish != Wish() or part is not None:
            raise UsageError(
                "--resume finishes a run as it was asked for; it takes no other selection",
                hint="conformance run --resume",
            )
        store = Store.resume(resume)
        assert store.header is not None
        wish = msgspec.convert(store.header.extra.get("wish", {}), Wish)
        part = shards.shard_of(store.header)
    granted = grant(wish)
    plan, extra = granted.plan, granted.extra
    if part is not None:
        plan, part = shards.cut(plan, part)
        extra = {**extra, shards.SHARD: msgspec.to_builtins(part)}
    if no_cache:
        os.environ[SWITCH_VARIABLE] = "off"  # the workers inherit it
    check_writable(target, junitxml)
    how = How(
        workers=workers or default_workers(),
        in_process=in_process,
        executor=executor,
        limits=Limits(case_seconds=case_timeout, memory=int(memory * GIB)),
        tools=tools,
    )
    header = Header(
        conformance=__version__,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["conformance", *ctx.find_root().obj]),
        extra=extra,
    )
    store = store or Store.create(ROOT)
    progress = Progress()
    try:
        done = run(plan, store, header, progress, how)
    except KeyboardInterrupt:
        progress.close()
        if store.header is None:
            click.echo("interrupted before anything ran", err=True)
            return INTERRUPTED
        deliver(read_run(store.path), form=form, target=target, junitxml=junitxml, everything=everything)
        click.echo(f"interrupted; finish with: conformance run --resume{_unless_latest(store)}", err=True)
        return INTERRUPTED
    finally:
        progress.close()
    deliver(done, form=form, target=target, junitxml=junitxml, everything=everything)
    return Summary(done).exit_code


def _check_executor(executor: str, *, workers: int | None, in_process: bool, no_cache: bool) -> None:
    """An executor is an address, and what is asked for can be had there.

    Raises:
        UsageError: it is not, or cannot.
    """
    from conformance.engine.dask_address import address_of

    address_of(executor)
    if workers is not None or in_process:
        raise UsageError(
            "--executor runs on the workers of a dask cluster; it takes no --workers and no --in-process",
            hint="start as many dask workers, with as many threads, as there shall be",
        )
    if no_cache:
        raise UsageError(
            "--no-cache does not reach the machines of a dask cluster",
            hint=f"start the dask workers with {SWITCH_VARIABLE}=off in their environment",
        )


def _unless_latest(store: Store) -> str:
    """The folder of a run, where another run in this folder began later."""
    with suppress(ConformanceError):
        if find(ROOT / "latest") == store.path:
            return ""
    return f" {store.folder}"
