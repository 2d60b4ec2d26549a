"""The findings of a check as text; the same on a terminal and in the message of a failing test."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator

from conformance.checking.session import Failures, Findings
from conformance.record import Record
from conformance.report.causes import FACTS_SHOWN, extent
from conformance.report.summary import in_words, many
from conformance.report.wording import figure_text, number, printable

WIDE = 14
_INDENT = WIDE + 2
GROUPS_SHOWN = 8


def findings_text(findings: Findings) -> str:
    """The report of a check."""
    return "\n".join(_lines(findings))


def fitted(text: str, columns: int) -> str:
    """The report for a terminal: what is longer than a line goes on below itself, but for a command, to be copied."""
    if columns < 2 * _INDENT:
        return text
    return "\n".join(
        line
        if len(line) <= columns or line.startswith("  again ")
        else textwrap.fill(
            line, columns, subsequent_indent=" " * _INDENT, break_long_words=False, break_on_hyphens=False
        )
        for line in text.split("\n")
    )


def _lines(findings: Findings) -> Iterator[str]:
    spec = findings.wanted.spec
    yield f"{spec.target} as {spec.like} on {spec.device}"
    yield from _use(findings)
    if findings.wanted.here:
        yield _row("in process", f"{findings.wanted.here}; a crash would end everything")
    yield f"{_cases(findings)}: {in_words(findings.counts.items())}"
    for group in findings.failures[:GROUPS_SHOWN]:
        yield from _failures(group)
    if len(findings.failures) > GROUPS_SHOWN:
        yield _row("", f"and {len(findings.failures) - GROUPS_SHOWN} more kinds of failure")
    yield from _causes(findings)
    yield from _not_run(findings)
    yield from _manners(findings)
    yield from _next(findings)
    if not findings.failures:
        yield _verdict(findings)


def _row(name: str, text: str) -> str:
    return f"  {name:<{WIDE}}{text}".rstrip()


def _cases(findings: Findings) -> str:
    ran = len(findings.records)
    return many(ran, "case") + (f" of {findings.total:,} (quick)" if ran < findings.total else "")


def _use(findings: Findings) -> Iterator[str]:
    """Which kind it was taken for, and which of its names stand for which of torch's."""
    told = [key.partition("\t")[2] for key in findings.remarks if key.startswith("candidate\t")]
    kinds = [line for line in told if line.partition(" ")[0] in _KINDS]
    names = [line for line in told if line not in kinds]
    for kind in kinds:
        yield _row("taken for", kind.partition(";")[0])
        if "forward only" in kind:
            yield _row("FORWARD ONLY", "it has no backward: gradients were NOT checked")
    if findings.wanted.spec.forward_only:
        yield _row("forward only", "gradients were not checked, as asked")
    for place, name in enumerate(names):
        yield _row("names" if not place else "", name)


_KINDS = ("module", "factory", "function", "object", "autograd")


def _failures(group: Failures) -> Iterator[str]:
    sign = group.symptom.sign
    name = sign if group.symptom.verdict in ("fail", "error") else group.symptom.verdict
    name = f"NaN in {name}" if group.symptom.nan else name
    count = f"{len(group.records):,} {group.symptom.verdict}"
    text = ", ".join(part for part in (count, group.common) if part)
    if len(name) < WIDE:
        yield _row(name, text)
    else:
        yield _row(name, "").rstrip()
        yield _row("", text)
    yield from (_row("", line) for line in _example(group))


def _example(group: Failures) -> Iterator[str]:
    worst = group.worst
    if worst is not None:
        record, figure = worst
        yield f"worst: {record.id}  step {figure.step}  {figure_text(figure)}"
        if group.also:
            shown = ", ".join(group.also[:5]) + (", ..." if len(group.also) > 5 else "")
            yield f"the same cases fail in {shown} too"
    else:
        first = group.records[0]
        yield f"such as {first.id}: {printable(first.reason)}"
        if group.symptom.verdict in ("crash", "timeout"):
            yield "the other cases went on"
    if group.declared:
        yield (
            f"torch's own layer deviates in {group.declared_cases:,} of these cases too, as declared in "
            f"{', '.join(group.declared[:3])}"
        )
    if group.smallest is not None:
        case, record = group.smallest.case, group.smallest.record
        note = " (time ran out; smaller ones may fail)" if group.smallest.hurried else ""
        yield f"smallest: {_spelled(group)}{note}"
        bad = next((figure for figure in record.figures if figure.quantity == group.symptom.sign), None)
        if bad is not None and case.key != (worst[0].key if worst else ""):
            yield f"          {figure_text(bad)}"


def _spelled(group: Failures) -> str:
    """A case in one line: shape, dtype, steps, and what is not the default."""
    from conformance.checking.found import fields_of

    assert group.smallest is not None
    case = group.smallest.case
    rest = {name: value for name, value in fields_of(case) if name not in ("shape", "steps", "dtype")}
    args = rest.pop("args", {})
    odd = [f"{name}={value}" for name, value in {**args, **rest}.items()]
    return ", ".join([f"shape {list(case.shape)}", case.dtype, "+".join(case.steps), *odd])


def _causes(findings: Findings) -> Iterator[str]:
    for cause in findings.causes:
        if not cause.mistakes:
            yield _row("likely cause", "none of the known mistakes")
        for place, entry in enumerate(cause.mistakes):
            says = "  or  ".join(f"{name}: {cause.says.get(name, '')}" for name in entry)
            yield _row("" if place else "likely cause", says)
        if cause.mistakes:
            yield _row("", extent(cause))
            yield _row("", f"what it means: conformance explain {cause.mistakes[0][0]}")
        for fact in cause.facts[:FACTS_SHOWN]:
            yield _row("", fact)
        for limit in cause.limits:
            yield _row("", f"not every case was searched to the end: {limit}")


def _not_run(findings: Findings) -> Iterator[str]:
    """Cases that the candidate did not take, by their reasons."""
    reasons = Counter(
        _without_value(record.reason) for record in findings.records if record.verdict in ("unsupported", "missing")
    )
    for place, (reason, count) in enumerate(reasons.most_common(6)):
        yield _row("" if place else "not run", f"{many(count, 'case')}: {printable(reason)}")
    if len(reasons) > 6:
        yield _row("", f"and {sum(reasons.values()) - sum(c for _, c in reasons.most_common(6)):,} for other reasons")


def _without_value(reason: str) -> str:
    head, found, _ = reason.partition(", and the case needs ")
    return head if found else reason


def _manners(findings: Findings) -> Iterator[str]:
    lines = []
    formats = sum(count for key, count in findings.remarks.items() if key.startswith("memory_format\t"))
    refusals = sum(count for key, count in findings.remarks.items() if key.startswith("refusal\t"))
    if refusals:
        lines.append(f"no exception in {many(refusals, 'case')} in which torch raises one")
    if formats:
        lines.append(f"another memory format of the output than torch's in {many(formats, 'case')}")
    for place, line in enumerate(lines):
        yield _row("" if place else "remarks", f"{line} (count as failures with --strict)")


def _next(findings: Findings) -> Iterator[str]:
    saved = [group.saved for group in findings.failures if group.saved is not None]
    backend = shlex.quote(str(findings.wanted.spec))
    for place, file in enumerate(saved):
        yield _row("" if place else "saved", str(file))
    if saved and not findings.wanted.spec.target.startswith("@"):
        yield _row("again", f"conformance run {shlex.quote(str(saved[0]))} --backend {backend} --in-process")
    elif findings.failures and not findings.wanted.spec.target.startswith("@"):
        first: Record = findings.failures[0].records[0]
        yield _row("again", f"conformance run --key {first.key} --backend {backend} --in-process")


def _verdict(findings: Findings) -> str:
    if not findings.checked:
        return "nothing was checked"
    budgets = [figure.budget for record in findings.records for figure in record.figures if figure.budget is not None]
    worst = f"; at worst {number(max(budgets))} of the allowed error was used" if budgets else ""
    what = "forward only" if findings.wanted.spec.forward_only else "everything that ran"
    return f"{what} agrees with the definition of {findings.wanted.spec.like}{worst}"
