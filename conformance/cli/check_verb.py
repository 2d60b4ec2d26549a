"""``conformance check``."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from conformance.backends.candidate.spec import ABOUT, KINDS
from conformance.cli import options
from conformance.cli.output import check_writable
from conformance.errors import UsageError

FOUND = Path("cases/found")
TOOLS = "conformance.checking.judging:tools"

HELP = """Check your own layer against the definition of an op.

CANDIDATE is module:Class or path/to/file.py:Class: a torch.nn.Module class with torch's signature, a factory of such, a
function (x, params, buffers, *, training, **args), a NumPy implementation, a torch.autograd.Function, or an object
with forward and backward. Which of these it is, is found out by looking at it; --as says it.

All cases of the op run on it, in worker processes: a crash or a hang costs one case. What fails is told with what the
failing cases have in common, the likely mistake, and the smallest case that still fails, which is saved as a case file
in cases/found/.

\b
Examples:
  conformance check mykernels:BatchNorm2d --like BatchNorm2d
  conformance check path/to/norm.py:Norm --like LayerNorm --quick
  conformance check mykernels:BatchNorm2d --like BatchNorm2d --map gamma=weight --map beta=bias
  conformance check mykernels:rms_norm --like RMSNorm --as function --only forward -k "not float16"
  conformance check mykernels:BatchNorm2d --like BatchNorm2d --device cuda
  conformance check mykernels:BatchNorm2d --like BatchNorm2d --case-file cases/found/batchnorm2d-7f3a01.yaml

\b
Exit codes: 0 it agrees   1 it does not   4 the candidate cannot be used   5 nothing was checked
"""


@click.command("check", help=HELP)
@click.argument("candidate")
@click.option("--like", required=True, metavar="OP", help="The op that it is judged as, such as BatchNorm2d.")
@click.option("--as", "kind", type=click.Choice(KINDS), help="How it is used, where looking does not tell.")
@click.option("--map", "names", multiple=True, metavar="YOURS=TORCHS", help="A name of yours, such as gamma=weight.")
@click.option("--backward", default="", metavar="MODULE:FUNCTION", help="The gradient of a function on NumPy arrays.")
@click.option("--only", type=click.Choice(["forward"]), help="Leave gradients alone.")
@click.option("--device", default="cpu", metavar="DEVICE", help="Where it runs, such as cuda; cpu by default.")
@click.option("--quick", is_flag=True, help="Few cases, in which every value of every axis occurs.")
@click.option("--strict", is_flag=True, help="The memory format of the output, and what torch refuses, count too.")
@options.narrowing
@click.option("--case-file", "paths", multiple=True, metavar="FILE", help="Cases of this file or folder instead.")
@options.workers
@click.option("--in-process", is_flag=True, help="No worker processes, for debuggers: a crash then ends the check.")
@click.option("--case-timeout", type=click.FloatRange(min=0.1), default=30.0, metavar="SECONDS", help="Per case; 30.")
@click.option(
    "--shrink", type=click.FloatRange(min=0), default=15.0, metavar="SECONDS", help="For the smallest cases; 0: none."
)
@click.option("--save", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Where they go.")
@click.option("--no-save", is_flag=True, help="Keep no case file.")
@click.option(
    "-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), help="Also write the report here."
)
@click.option("--tools", default=TOOLS, hidden=True)
@click.pass_context
def command(
    ctx: click.Context,
    candidate: str,
    like: str,
    kind: str | None,
    names: tuple[str, ...],
    backward: str,
    only: str | None,
    device: str,
    quick: bool,
    strict: bool,
    keyword: str,
    dtypes: tuple[str, ...],
    ids: tuple[str, ...],
    keys: tuple[str, ...],
    paths: tuple[str, ...],
    slow: bool,
    workers: int | None,
    in_process: bool,
    case_timeout: float,
    shrink: float,
    save: Path | None,
    no_save: bool,
    target: Path | None,
    tools: str,
) -> int:
    check_writable(target)
    from conformance.backends.candidate.spec import Spec
    from conformance.checking.session import Wanted, carry_out
    from conformance.checking.wording import findings_text, fitted
    from conformance.engine.store import ROOT, Store
    from conformance.report.progress import Progress

    spec = Spec(
        target=candidate,
        like=like,
        kind=kind or "",  # type: ignore[arg-type]  # click has checked it
        names=dict(map(_pair, names)),
        device=device,
        backward=backward,
        forward_only=only == "forward",
    )
    wanted = Wanted(
        spec=spec,
        paths=paths,
        keyword=keyword,
        dtypes=dtypes,
        ids=ids,
        keys=keys,
        slow=slow,
        quick=quick,
        strict=strict,
        workers=workers,
        here="as asked" if in_process else "",
        case_seconds=case_timeout,
        shrink_seconds=shrink,
        save=None if no_save else save or _folder(),
        tools=tools,
        command=shlex.join(["conformance", *ctx.find_root().obj]),
    )
    progress = Progress()
    try:
        findings = carry_out(wanted, Store.create(ROOT), progress)
    finally:
        progress.close()
    text = findings_text(findings)
    if target is not None:
        target.write_text(f"{text}\n", encoding="utf-8")
    click.echo(fitted(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text)
    return findings.exit_code


def _pair(text: str) -> tuple[str, str]:
    theirs, found, ours = text.partition("=")
    if not (theirs and found and ours):
        raise UsageError(f"--map {text}: not of the form YOURS=TORCHS", hint="such as: --map gamma=weight")
    return theirs, ours


def _folder() -> Path:
    """Where found cases go: cases/found, but never among the cases that are shipped."""
    from conformance.engine.store import ROOT
    from conformance.suite.loader import shipped_cases

    return ROOT / "found" if FOUND.parent.resolve() == shipped_cases().resolve() else FOUND


def kinds() -> Sequence[str]:
    """The kinds of candidates in words, for the documentation."""
    return [f"{kind}: {about}" for kind, about in ABOUT.items()]
