"""Where a run is, on standard error: a bar for people, a line now and then for logs, nothing for short runs."""

from __future__ import annotations

import sys
import time
from collections import Counter
from threading import RLock, Timer
from typing import TYPE_CHECKING, TextIO

from conformance.record import BAD, Header, Record

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

PATIENCE = 2.0  # seconds before anything is shown
LOG_EVERY = 15.0  # seconds between two lines where nobody watches


class Progress:
    """Listens to a run; ``close`` must be called.

    A person sees the bar ``patience`` seconds after the beginning, whether or not there is a record by then.  A log
    gets a line after ``silence`` seconds without one, likewise.
    """

    def __init__(self, stream: TextIO | None = None, *, patience: float = PATIENCE, silence: float = LOG_EVERY) -> None:
        self._stream = stream or sys.stderr
        self._patience = patience
        self._silence = silence
        self._started = time.monotonic()
        self._said = self._started
        self._expected = 0
        self._done = 0
        self._at = "starting"
        self._verdicts: Counter[str] = Counter()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._closed = False
        self._lock = RLock()
        self._alarm = Timer(patience, self._show) if self._stream.isatty() else Timer(silence, self._remind)
        self._alarm.daemon = True
        self._alarm.start()

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
        self._at = ""
        self._verdicts[record.verdict] += 1
        self._tell(self._silence)

    def doing(self, text: str) -> None:
        """Say what it is at, when that is not running cases."""
        self._at = text
        self._tell(self._patience)

    def _tell(self, silence: float) -> None:
        """Draw; or write a line, where nobody watches and nothing was written for so many seconds."""
        now = time.monotonic()
        if now - self._started < self._patience:
            return
        if self._stream.isatty():
            self._show()
            return
        with self._lock:
            if now - self._said > silence and not self._closed:
                self._said = now
                seconds = f"{now - self._started:.0f} s"
                parts = [seconds]
                if self._expected:
                    counted = f"{self._done:,} of {self._expected:,} records  {self._done / self._expected:.0%}"
                    parts = [counted, seconds, self._bad]
                self._stream.write("  ".join(filter(None, (*parts, self._at))) + "\n")
                self._stream.flush()

    def _remind(self) -> None:
        """A line in a log to which nothing else has led, such as while workers start; and again later."""
        with self._lock:
            if self._closed:
                return
            self._tell(self._silence * 0.9)  # a timer may be early by a little
            self._alarm = Timer(self._silence, self._remind)
            self._alarm.daemon = True
            self._alarm.start()

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

    def _show(self) -> None:
        """Draw the bar as things stand; from then on it goes on by itself."""
        with self._lock:
            if self._closed:
                return
            if self._bar is None:
                self._bar = self._new_bar()
                self._task = self._bar.add_task("run", total=None)
                self._bar.start()
            assert self._task is not None
            records = f"{self._done:,} of {self._expected:,} records" if self._expected else ""
            text = "  ".join(filter(None, (records, self._bad if self._done else "", self._at)))
            self._bar.update(self._task, total=self._expected or None, completed=self._done, description=text)

    def _new_bar(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        return Progress(
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(file=self._stream),
            transient=True,
        )

    def close(self) -> None:
        """Take the bar away."""
        with self._lock:
            self._closed = True
            self._alarm.cancel()
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
