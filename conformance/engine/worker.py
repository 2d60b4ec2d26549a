"""One warm worker process as the engine sees it: spawned, fed with units, watched, and replaced when it dies."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, cast

import execnet
import msgspec

from conformance.engine.limits import GIB, Limits, resident_bytes
from conformance.engine.messages import (
    FromWorker,
    Ready,
    Setup,
    UnitDone,
    Work,
)
from conformance.engine.plan import Pair, Plan
from conformance.engine.schedule import FROM_OUTSIDE, Ending, Unit
from conformance.engine.whereabouts import PREPARING, RUNNING, Mark, Whereabouts

BOOT = """
import sys
sys.path[:] = channel.receive()
from conformance.engine.remote import serve
serve(channel)
"""
MERCY = 5.0  # seconds between asking a process to say where it is and killing it
LOG_LIMIT = 8_000

Event = tuple["Worker", FromWorker | None]  # None: the process is gone


class StillbornError(Exception):
    """A process ended before it could be spoken to."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


@contextmanager
def _left_alone() -> Iterator[None]:
    """Processes and threads that start in here never see Ctrl-C: it is for the engine, which gets it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # not on every system
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker:
    """A spawned interpreter.  What it says arrives in ``inbox``; ``hear`` must be given each message."""

    def __init__(self, setup: Setup, plan: Plan, limits: Limits, inbox: SimpleQueue[Event]) -> None:
        self.ready = False
        self.units: deque[Unit] = deque()  # the first is the one that it is at
        self._given = 0
        self._plan = plan
        self._limits = limits
        self._log = Path(setup.log)
        self._mark_file = Path(setup.mark)
        self._mark = Mark(self._mark_file)
        self._backends = setup.backends
        self._seen = Whereabouts(0)
        self._at: Pair | None = None
        self._preparing = ""
        self._doom = ""  # why we ended it
        self._deadline = time.monotonic() + limits.start_seconds
        self._group = execnet.Group()
        self._group.set_execmodel("thread", "main_thread_only")
        python = shlex.quote(sys.executable)
        try:
            with _left_alone():
                self._gateway = cast("Any", self._group.makegateway(f"popen//python={python}"))
            self._process: subprocess.Popen[bytes] = self._gateway._io.popen  # noqa: SLF001 - no public way
            self._channel: Any = self._gateway.remote_exec(BOOT)
        except (OSError, EOFError) as error:  # a pipe whose other end is gone
            self._group.terminate(timeout=1.0)
            raise StillbornError(Ending("crash", f"{error or 'no answer'}", "", None, name=FROM_OUTSIDE)) from error
        decoder = msgspec.msgpack.Decoder(FromWorker)
        self._channel.setcallback(
            lambda data: inbox.put((self, None if data is None else decoder.decode(data))), endmarker=None
        )
        self._tell(list(sys.path))
        self._tell(msgspec.msgpack.encode(setup))

    def _tell(self, data: object) -> None:
        with suppress(OSError):  # it is gone; the end marker says so
            self._channel.send(data)

    def take_up(self, plan: Plan, limits: Limits) -> None:
        """The units that are given from now on are of this plan; what it was at is done, but for saying so."""
        self._plan, self._at, self._limits = plan, None, limits
        self.units = deque(Unit(()) for _ in self.units)

    @property
    def fresh(self) -> bool:
        """Whether it has been given nothing yet."""
        return self._given == 0

    def give(self, unit: Unit) -> None:
        """Hand over a unit, which it begins when it is through with the one before."""
        if not self.units:
            self._at, self._preparing = None, ""
            self._deadline = time.monotonic() + self._limits.start_seconds
        self._given += 1
        self.units.append(unit)
        assignments = self._plan.assignments(unit.pairs)
        self._tell(msgspec.msgpack.encode(Work(self._given, assignments, prepare=unit.prepare)))

    def hear(self, message: FromWorker) -> None:
        """Follow what the process says."""
        match message:
            case Ready():
                self.ready, self._deadline = True, float("inf")
            case UnitDone():
                self.units.popleft()
                self._at, self._preparing = None, ""
                self._deadline = time.monotonic() + self._limits.start_seconds if self.units else float("inf")
            case _:
                pass

    def _look(self) -> None:
        """Follow what the process says that it is at, and how long it may take for that from now on."""
        seen = self._mark.read()
        # of the unit after the first: that the first is done has not been heard yet
        if seen is None or seen == self._seen or not self.units or seen.unit != self._given - len(self.units) + 1:
            return
        self._seen = seen
        self._at, self._preparing = None, ""
        limit = self._limits.start_seconds
        if seen.what == PREPARING:
            self._preparing = self._backends[seen.backend]
            limit = self._limits.of_prepare(seen.number)
        elif seen.what == RUNNING:
            cases = list(dict.fromkeys(pair.case for pair in self.units[0].pairs))
            self._at = Pair(cases[seen.number], self._backends[seen.backend])
            limit = self._limits.of_case(self._plan.cases[self._at.case])
        self._deadline = time.monotonic() + limit

    def watch(self) -> None:
        """End the process when it takes too long or too much; its death then arrives in the inbox."""
        now = time.monotonic()
        if self._doom:
            if now > self._deadline:
                self._process.kill()
            return
        self._look()
        if now > self._deadline:
            allowed = "" if self._at is None else f" of {self._limits.of_case(self._plan.cases[self._at.case]):g} s"
            self._end(f"did not end within its limit{allowed}")
        elif (resident_bytes(self._process.pid) or 0) > self._limits.memory:
            self._end(f"used more than {self._limits.memory / GIB:g} GiB of memory")

    def _end(self, doom: str) -> None:
        self._doom, self._deadline = doom, time.monotonic() + MERCY
        # faulthandler answers SIGABRT with the stack of every thread, and the process then ends
        self._process.send_signal(getattr(signal, "SIGABRT", signal.SIGTERM))

    @property
    def heavy(self) -> bool:
        """Whether it holds so much memory that a fresh process should go on."""
        return (resident_bytes(self._process.pid) or 0) > self._limits.memory // 2

    def ending(self) -> Ending:
        """How it died; for when the end marker has come."""
        if not self._doom:
            self._look()
        try:
            status: int | None = self._process.wait(timeout=MERCY)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = None
        words = self._last_words()
        if self._doom:
            timeout = self._doom.startswith("did not end")
            kind: Literal["timeout", "crash"] = "timeout" if timeout else "crash"
            return Ending(kind, self._doom, words, self._at, self._preparing, "timeout" if timeout else "memory")
        name = exit_name(status)
        return Ending("crash", f"the worker died with {name}", words, self._at, self._preparing, name)

    def _last_words(self) -> str:
        try:
            return self._log.read_text(encoding="utf-8", errors="replace").strip()[-LOG_LIMIT:]
        except OSError:
            return ""

    def dismiss(self) -> None:
        """End the process now, without ado."""
        with suppress(OSError):
            self._process.kill()
        self._gateway.exit()
        self._group.terminate(timeout=1.0)
        self._mark.close()
        for file in (self._log, self._mark_file):
            file.unlink(missing_ok=True)


def exit_name(status: int | None) -> str:
    """How a process ended, in words: SIGSEGV, or exit code 3."""
    if status is None:
        return "no exit code"
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return f"exit code {status}"
