"""Where a run is, on standard error: a bar for people, a line now and then for logs, nothing for short runs."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from conformance.record import BAD, Header, Record

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

PATIENCE = 2.0  # seconds before anything is shown
LOG_EVERY = 15.0  # seconds between two lines where nobody watches


class Progress:
    """Listens to a run."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._started = time.monotonic()
        self._said = self._started
        self._expected = 0
        self._done = 0
        self._verdicts: Counter[str] = Counter()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def began(self, header: Header, done: int) -> None:
        """The header is known: what a person should know before waiting."""
        self._expected, self._done = header.expected, done
        if done:
            self._stream.write(f"resumed: {done:,} of {header.expected:,} records are there already\n")
        for name, reason in header.missing.items():
            self._stream.write(f"missing: {name}: {reason}\n")

    def recorded(self, record: Record) -> None:
        """Count a record, and draw when it is time."""
        self._done += 1
        self._verdicts[record.verdict] += 1
        now = time.monotonic()
        if now - self._started < PATIENCE:
            return
        if self._stream.isatty():
            self._draw()
        elif now - self._said > LOG_EVERY:
            self._said = now
            share = self._done / max(1, self._expected)
            self._stream.write(
                f"{self._done:,} of {self._expected:,} records  {share:.0%}  {now - self._started:.0f} s  {self._bad}\n"
            )
            self._stream.flush()

    @property
    def _bad(self) -> str:
        count = sum(self._verdicts[verdict] for verdict in BAD)
        return f"{count:,} failed" if count else "none failed"

    def noted(self, text: str) -> None:
        """Say it above the bar."""
        if self._bar is not None:
            self._bar.console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(f"note: {text}\n")

    def _draw(self) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.completed:,} of {task.total:,} records"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[bad]}"),
                console=Console(file=self._stream),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("run", total=self._expected, bad=self._bad)
        assert self._task is not None
        self._bar.update(self._task, completed=self._done, bad=self._bad)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
