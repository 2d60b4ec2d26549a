"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from conformance.engine.store import StoredRun
from conformance.report.summary import Summary


def _text(run: StoredRun) -> str:
    from conformance.report.terminal import render

    return render(run)


def _markdown(run: StoredRun) -> str:
    from conformance.report.markdown import markdown

    return markdown(run)


def _junit(run: StoredRun) -> str:
    from conformance.report.junit import junit

    return junit(run)


def _github(run: StoredRun) -> str:
    from conformance.report.github import github

    return github(run)


def _json(run: StoredRun) -> str:
    summary = Summary(run)
    document: dict[str, Any] = {
        "header": run.header,
        "counts": summary.counts,
        "exit_code": summary.exit_code,
        "records": tuple(run.records),
        "footer": run.footer,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def _jsonl(run: StoredRun) -> str:
    lines = [run.header, *run.records, *([run.footer] if run.footer else [])]
    return "".join(msgspec.json.encode(line).decode() + "\n" for line in lines)


FORMATS: dict[str, Callable[[StoredRun], str]] = {
    "text": _text,
    "json": _json,
    "jsonl": _jsonl,
    "md": _markdown,
    "junit": _junit,
    "github": _github,
}
