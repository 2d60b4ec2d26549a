"""The report as Markdown, for a pull request or a job summary."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.engine.store import StoredRun
from conformance.report.causes import likely, lines_of
from conformance.report.headline import amounts, headline, left_out, next_step, versions
from conformance.report.summary import Summary, in_words
from conformance.report.wording import again, body, likeness, number, title

FAILURES_SHOWN = 50


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def markdown(run: StoredRun) -> str:
    """The whole report."""
    return "\n".join(_lines(Summary(run))) + "\n"


def _lines(summary: Summary) -> Iterator[str]:
    run = summary.run
    yield f"## {_escape(headline(run))}"
    yield ""
    for text in (*versions(run), *left_out(run), *amounts(summary)):
        yield f"{_escape(text)}  "
    yield ""
    yield f"**{in_words(summary.counts.items())}** = {len(run.records):,} records"
    yield ""
    yield from _table(summary)
    yield from _failures(summary)
    if summary.fixed:
        yield from ("### No longer seen", "")
        yield from (f"- `{record.id}` on {record.backend}: {_escape(record.reason)}" for record in summary.fixed)
        yield ""
    if summary.known:
        yield from (
            "### Known divergences",
            "",
            "| divergence | cases | why | error relative to the data |",
            "|---|---|---|---|",
        )
        for known in summary.known:
            cases = ", ".join(f"{count:,} {name}" for name, count in known.backends)
            sizes = "; ".join(f"{name} {number(low)} to {number(high)}" for name, low, high in known.sizes)
            name = f"[{known.divergence}]({known.see})" if known.see else known.divergence
            yield f"| {name} | {cases} | {_escape(known.why)} | {sizes} |"
        yield ""
    if summary.unsupported or summary.missing:
        yield from ("### Not run", "", "| backend | cases | reason |", "|---|---|---|")
        for reason in (*summary.missing, *summary.unsupported):
            yield f"| {reason.backend} | {reason.count:,} | {_escape(reason.reason)} |"
        yield ""
    yield _escape(next_step(summary))


def _failures(summary: Summary) -> Iterator[str]:
    if summary.failures:
        yield from ("### Failures", "")
        for group in summary.failure_groups[:FAILURES_SHOWN]:
            record = group.first
            yield from (f"- `{title(record)}` ({record.where})", "", "  ```text")
            told = (
                *body(record),
                likely(record, summary.causes),
                likeness(group),
                f"again: {again(record, summary.paths)}",
            )
            yield from (f"  {line}" for line in told if line)
            yield from ("  ```", "")
        if len(summary.failure_groups) > FAILURES_SHOWN:
            yield from (f"and {len(summary.failure_groups) - FAILURES_SHOWN:,} more kinds of failure", "")
    if summary.causes:
        yield from ("### Likely causes", "", "```text")
        yield from (line for cause in summary.causes for line in lines_of(cause))
        yield from ("```", "")


def _table(summary: Summary) -> Iterator[str]:
    backends = summary.run.header.backends
    yield f"| op | {' | '.join(backends)} | worst budget |"
    yield "|---" * (len(backends) + 2) + "|"
    for op, row in summary.table.items():
        cells = (in_words(row.get(name, {}).items()) for name in backends)
        worst = summary.worst.get(op)
        told = f"{number(worst.budget)} ({worst.dtype} {worst.quantity})" if worst else ""
        yield f"| {op} | {' | '.join(cells)} | {told} |"
    yield ""
