"""The report as workflow commands, which GitHub shows beside the lines of the case files."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.engine.store import StoredRun
from conformance.report.causes import likely
from conformance.report.headline import headline, next_step
from conformance.report.summary import Summary, in_words
from conformance.report.wording import again, body, likeness, title


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _command(kind: str, where: str, name: str, text: str) -> str:
    file, _, line = where.rpartition(":")
    return f"::{kind} file={_property(file)},line={line},title={_property(name)}::{_data(text)}"


def github(run: StoredRun) -> str:
    """One error per kind of failure, one warning per divergence that is no longer seen, one notice for all the rest."""
    return "\n".join(_lines(Summary(run))) + "\n"


def _lines(summary: Summary) -> Iterator[str]:
    for group in summary.failure_groups:
        record = group.first
        told = (
            *body(record),
            likely(record, summary.causes),
            likeness(group),
            f"again: {again(record, summary.paths)}",
        )
        yield _command("error", record.where, title(record), "\n".join(line for line in told if line))
    seen = set()
    for record in summary.fixed:
        if (record.divergence, record.backend) not in seen:
            seen.add((record.divergence, record.backend))
            yield _command("warning", record.where, f"no longer seen: {record.divergence}", record.reason)
    counts = in_words(summary.counts.items())
    if summary.run.footer is None:
        yield f"::error title=interrupted::{_data(next_step(summary))}"
    yield f"::notice title=conformance::{_data(f'{headline(summary.run)} -- {counts}')}"
