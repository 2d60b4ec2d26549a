"""The sentences that every report begins and ends with."""

from __future__ import annotations

import shlex

from conformance.engine.store import StoredRun
from conformance.report import summary as summary_
from conformance.report.summary import Summary, many

FIRST = ("torch", "onnxruntime", "numpy")  # packages of the headline; the others follow in the second line


def headline(run: StoredRun) -> str:
    """What ran, and whether CUDA took part."""
    header = run.header
    packages = [f"{name} {header.versions[name]}" for name in FIRST if name in header.versions]
    return "   ".join([f"conformance {header.conformance}", *packages, cuda(run)])


def cuda(run: StoredRun) -> str:
    """Nobody should have to guess whether a green run included CUDA."""
    found = run.header.machine.get("cuda", "not looked for")
    absent = sum(record.verdict == "missing" and "cuda" in record.backend for record in run.records)
    if absent:
        return f"CUDA: {found}, {absent:,} missing"
    asked = any("cuda" in name for name in run.header.backends)
    return f"CUDA: {found}" if asked or found.startswith("none") else f"CUDA: {found}, not asked for"


def versions(run: StoredRun) -> list[str]:
    """The other packages, and the machine."""
    header = run.header
    others = [f"{name} {version}" for name, version in header.versions.items() if name not in FIRST]
    machine = [
        f"python {header.machine.get('python', '?')}",
        header.machine.get("system", ""),
        header.machine.get("machine", ""),
    ]
    return ["   ".join(part for part in [*others, *machine] if part)]


def left_out(run: StoredRun) -> list[str]:
    """How many cases on how many backends, and what a sample kept from which."""
    header = run.header
    lines = [f"{many(header.cases, 'case')} x {many(len(header.backends), 'backend')}"]
    lines += [
        f"{count:,} of them are not sent to {name}, which gets a sample" for name, count in header.left_out.items()
    ]
    if part := header.extra.get("shard"):
        lines.insert(0, f"part {part['number']} of {part['of']}; join the parts with: conformance merge")
    if slow := header.extra.get("slow_left_out"):
        lines.append(f"left out as slow: {many(slow, 'case')} (run them too: --slow)")
    return lines


def amounts(summary: Summary) -> list[str]:
    """What a reader of the counts should know: an interruption, explicit tolerances, stale declarations."""
    run = summary.run
    lines = []
    if run.footer is None:
        lines.append(f"interrupted after {len(run.records):,} of {run.header.expected:,} records")
    if summary.tolerated:
        lines.append(f"{many(summary.tolerated, 'record')} judged by an explicit tolerance, not by the model")
    for unseen in summary.unseen:
        where = f" ({unseen.where})" if unseen.where else ""
        what = f"{unseen.quantity} of divergence" if unseen.quantity else "divergence"
        told = f"{what} {unseen.divergence}{where} is not seen in this run"
        passed = f"; {many(unseen.agreed, 'record')} pass where it is declared" if unseen.agreed else ""
        lines.append(f"fixed? {told}{passed}")
    return lines


def next_step(summary: Summary) -> str:
    """Where the records are, and one thing to do now."""
    run = summary.run
    told = f"records: {run.path}" if run.path else ""
    seconds = f"{run.footer.seconds:.0f} s" if run.footer is not None else ""
    match summary.exit_code:
        case summary_.INTERRUPTED:
            advice = "next: conformance run --resume" + (f" {shlex.quote(str(run.path.parent))}" if run.path else "")
        case summary_.FAILURES:
            files = "".join(f"{shlex.quote(path)} " for path in summary.paths)
            advice = f"next: conformance list {files}--why {shlex.quote(summary.failures[0].id)}"
        case summary_.NOTHING:
            advice = "nothing was checked: every backend that was asked for is missing; see conformance doctor"
        case _ if summary.fixed:
            advice = "next: delete or narrow the divergences that are no longer seen"
        case _:
            advice = "everything that ran agrees with its definition" + (
                ", but for what is known" if summary.known else ""
            )
    return "   ".join(part for part in (told, seconds, advice) if part)
