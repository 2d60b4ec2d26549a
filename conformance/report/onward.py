"""Where a failure leads: a script that shows it to others, and the page that explains what it is about."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from conformance.backends import NAMES
from conformance.errors import UsageError
from conformance.explain.topics import resolve
from conformance.record import BAD, Cause, Record
from conformance.report.summary import bad_figures

#: what a quantity is about, by the end of its name; the first that fits
_ABOUT = (
    ("running_mean", "running-mean"),
    ("running_var", "running-var"),
    ("num_batches_tracked", "momentum-none"),
)
_HALF = ("bfloat16", "float16")


def reproduce(record: Record, paths: Sequence[str] = ()) -> str:
    """The command that writes the script; ``paths`` are the case files that were named, if any were."""
    where = "".join(f" --path {shlex.quote(path)}" for path in paths)
    return f"conformance repro {record.key} --backend {record.backend}{where}"


def topic(record: Record, causes: Sequence[Cause] = ()) -> str:
    """The topic to read next: the mistake that is the likely cause, else what the quantity is about."""
    for cause in causes:
        if (cause.op, cause.backend) == (record.op, record.backend):
            for name in (name for entry in cause.mistakes for name in entry):
                if _explained(name):
                    return name
    over = bad_figures(record)
    for quantity, about in _ABOUT:
        if over and over[0].quantity.endswith(quantity):
            return about
    return "low-precision-accumulation" if record.dtype in _HALF else "allowance"


def onward(record: Record, paths: Sequence[str] = (), causes: Sequence[Cause] = ()) -> list[str]:
    """Both as lines under a failure; an exception, a crash or a hang has no page, and somebody's own code no script."""
    if record.verdict not in BAD:
        return []
    lines = [f"reproduce: {reproduce(record, paths)}"] if record.backend in NAMES else []
    if record.verdict == "fail":
        lines.append(f"next: conformance explain {topic(record, causes)}")
    return lines


def _explained(name: str) -> bool:
    try:
        return resolve(name) == name
    except UsageError:
        return False
