"""The worker's side: runs in a process of its own, which may die without taking the run along."""

from __future__ import annotations

import faulthandler
import os
import signal
from contextlib import suppress
from typing import Any

import msgspec

from conformance.engine.bench import Bench, Teller
from conformance.engine.execute import tools_from
from conformance.engine.messages import (
    Finished,
    FromWorker,
    Loading,
    Note,
    Preparing,
    Setup,
    Starting,
    ToWorker,
    UnitDone,
    Work,
)


class ChannelTeller(Teller):
    """Sends what happens to the engine; the log holds the standard error of what is being run, and no more."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def say(self, message: FromWorker) -> None:
        self._channel.send(msgspec.msgpack.encode(message))

    def loading(self, backend: str) -> None:
        self.say(Loading(backend))

    def preparing(self, backend: str, cases: int) -> None:
        os.ftruncate(2, 0)
        self.say(Preparing(backend, cases))

    def starting(self, place: int, backend: str) -> None:
        os.ftruncate(2, 0)
        self.say(Starting(place, backend))

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
    teller = ChannelTeller(channel)
    bench = Bench(setup.backends, tools, setup.divergences, teller, setup.evidence)
    teller.say(bench.introduction())
    while True:
        try:
            work = decoder.decode(channel.receive())
        except EOFError:
            return
        assert isinstance(work, Work)
        for record in bench.run(work.assignments, prepare=work.prepare):
            teller.say(Finished(record))
        teller.say(UnitDone())
