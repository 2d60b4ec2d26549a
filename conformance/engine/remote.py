"""The worker's side: runs in a process of its own, which may die without taking the run along."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from conformance.engine.bench import Bench, Teller
from conformance.engine.execute import tools_from
from conformance.engine.messages import (
    Finished,
    FromWorker,
    Loading,
    Note,
    Setup,
    ToWorker,
    UnitDone,
    Work,
)
from conformance.engine.whereabouts import IDLE, PREPARING, RUNNING, Mark
from conformance.record import Record

TOGETHER = 0.05  # seconds for which records wait for others, to be sent in one message


class ChannelTeller(Teller):
    """Sends what happens to the engine; the log holds the standard error of what is being run, and no more.

    Records that wait when the process dies are lost, and their cases run again.
    """

    def __init__(self, channel: Any, mark: Mark, backends: Sequence[str]) -> None:
        self._channel = channel
        self._mark = mark
        self._backends = {name: place for place, name in enumerate(backends)}
        self._done: list[Record] = []
        self._sent = 0.0
        self.unit = 0

    def say(self, message: FromWorker) -> None:
        """Send a message, after the records that wait."""
        self._flush()
        self._channel.send(msgspec.msgpack.encode(message))

    def finished(self, record: Record) -> None:
        """Send a record, or have it wait for a moment."""
        self._mark.set(IDLE)
        self._done.append(record)
        if time.monotonic() > self._sent + TOGETHER:
            self._flush()

    def _flush(self) -> None:
        if self._done:
            self._channel.send(msgspec.msgpack.encode(Finished(tuple(self._done))))
            self._done.clear()
            self._sent = time.monotonic()

    def loading(self, backend: str) -> None:
        self.say(Loading(backend))

    def preparing(self, backend: str, cases: int) -> None:
        os.ftruncate(2, 0)
        self._mark.set(PREPARING, self.unit, self._backends[backend], cases)

    def starting(self, place: int, backend: str) -> None:
        os.ftruncate(2, 0)
        self._mark.set(RUNNING, self.unit, self._backends[backend], place)

    def note(self, text: str) -> None:
        self.say(Note(text))


def _settle_in(setup: Setup) -> None:
    """Send both output streams to the log, leave native stacks there, dump no core, leave Ctrl-C to the engine."""
    log = os.open(setup.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    faulthandler.enable(file=2, all_threads=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # the cores are shared out between workers, not within one


def serve(channel: Any) -> None:
    """Set up, say what is here, then run units until the engine says nothing more."""
    decoder = msgspec.msgpack.Decoder(ToWorker)
    setup = decoder.decode(channel.receive())
    assert isinstance(setup, Setup)
    _settle_in(setup)
    tools = tools_from(setup.tools)
    teller = ChannelTeller(channel, Mark(Path(setup.mark)), setup.backends)
    bench = Bench(setup.backends, tools, setup.divergences, teller, setup.evidence)
    teller.say(bench.introduction())
    gc.freeze()  # what is loaded stays: looking through it for garbage again and again takes a while
    while True:
        try:
            work = decoder.decode(channel.receive())
        except EOFError:
            return
        assert isinstance(work, Work)
        teller.unit = work.number
        for record in bench.run(work.assignments, prepare=work.prepare):
            teller.finished(record)
        teller.say(UnitDone())
