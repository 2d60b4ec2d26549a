"""The list of all topics and mistakes."""

from __future__ import annotations

import textwrap

from conformance.explain.pages import GROUPS
from conformance.explain.topics import TOPICS


def listing(width: int) -> str:
    """Topics with what their pages answer, then the ids of the mistakes by kind."""
    column = max(map(len, TOPICS)) + 4
    lines = ["topics"]
    for topic, answers in TOPICS.items():
        lines += textwrap.wrap(
            answers, width, initial_indent=f"  {topic:<{column - 2}}", subsequent_indent=" " * column
        )
    for title, group in GROUPS.items():
        lines += ["", f"mistakes: {title}"]
        lines += textwrap.wrap(
            "  ".join(group),
            width,
            initial_indent="  ",
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
    return "\n".join([*lines, "", "next: conformance explain TOPIC", ""])
