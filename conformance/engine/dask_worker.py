"""What runs on the machines of a dask cluster: units of a run, each in worker processes of the engine's own.

A backend that crashes takes down a process of ours and never the dask worker, and is blamed as on one machine.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Iterator
from importlib import metadata

import msgspec

from conformance import __version__
from conformance.engine.crew import Crew
from conformance.engine.limits import Limits
from conformance.engine.messages import Finished, FromWorker, Note, Ready
from conformance.engine.plan import Plan
from conformance.engine.runtime import foretold
from conformance.engine.schedule import Schedule
from conformance.suite.case import Case, Divergence

PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "ml_dtypes", "distributed")
EVERY = 1.0  # seconds; what was done since the last time is then sent
FORGOTTEN = 300.0  # seconds without work after which the workers of another run may go


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A unit of work: which cases go to which backends; and what the run is, the same for every unit."""

    run: str  # the name of the run, and of the topic to which records are sent
    cases: tuple[Case, ...]
    backends: tuple[str, ...]
    only: dict[str, frozenset[str]]
    divergences: dict[str, Divergence]
    tools: str
    limits: tuple[float, float, float, float, int]


def about() -> dict[str, str]:
    """What must be the same on every machine of a run."""
    found = {"conformance": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def carry_out(order: bytes) -> list[bytes]:
    """Run a unit and return everything that was said; of long units, records are sent before as well."""
    told = _DECODER.decode(order)
    hired = _hired(told.run)
    said: list[bytes] = []
    sent, looked = 0, time.monotonic()
    try:
        for message in _work(told, hired):
            said.append(msgspec.msgpack.encode(message))
            if time.monotonic() > looked + EVERY:
                _send(told.run, said[sent:])
                sent, looked = len(said), time.monotonic()
    except BaseException:
        hired.dismiss()  # it may be anywhere in its unit
        raise
    finally:
        _put_back(told.run, hired)
    return said


def _send(topic: str, messages: list[bytes]) -> None:
    from distributed import get_worker

    get_worker().log_event(topic, messages)


def _work(order: Order, hired: Hired) -> Iterator[FromWorker]:
    plan = Plan(order.cases, order.backends, order.only, order.divergences)

    def declared(case: Case, backend: str, death: str) -> Divergence | None:
        return foretold(case, backend, death, plan.divergences, hired.ready.versions if hired.ready else {})

    schedule = Schedule(plan, foretold=declared, units=1)
    if hired.crew is None:
        hired.crew = Crew(plan, schedule, size=1, limits=Limits(*order.limits), tools=order.tools, evidence="")
    else:
        hired.crew.take_up(plan, schedule)
    if hired.ready is not None:
        yield hired.ready  # units come back in any order, and the first to come makes the header
    for message in hired.crew.work():
        if isinstance(message, Ready):
            hired.ready = message
        if not isinstance(message, Finished):
            yield message
        yield Finished(tuple(schedule.release()))  # those of cases that died among them, which no process sends
        yield from map(Note, _drained(schedule.notes))
    yield Finished(tuple(schedule.release()))
    yield from map(Note, _drained(schedule.notes))


def _drained(notes: list[str]) -> list[str]:
    found = notes[:]
    notes.clear()
    return found


# ---- warm workers: one for each thread of the dask worker, until the run is over ---------------------------------


class Hired:
    """A crew, kept from unit to unit."""

    def __init__(self) -> None:
        self.crew: Crew | None = None
        self.ready: Ready | None = None
        self.since = time.monotonic()  # it has been idle

    def dismiss(self) -> None:
        """End its processes."""
        if self.crew is not None:
            self.crew.dismiss()
            self.crew = None


_DECODER = msgspec.msgpack.Decoder(Order)
_idle: dict[str, list[Hired]] = {}  # by run
_over: set[str] = set()
_lock = threading.Lock()


def _hired(run: str) -> Hired:
    """An idle crew of the run, or a new one; those whose run has long said nothing are sent away."""
    now = time.monotonic()
    with _lock:
        stale = [
            hired for name, some in _idle.items() if name != run for hired in some if now - hired.since > FORGOTTEN
        ]
        for name, some in _idle.items():
            _idle[name] = [hired for hired in some if hired not in stale]
        own = _idle.get(run, [])
        found = own.pop() if own else Hired()
    for hired in stale:
        hired.dismiss()
    return found


def _put_back(run: str, hired: Hired) -> None:
    with _lock:
        over = run in _over
        if not over:
            hired.since = time.monotonic()
            _idle.setdefault(run, []).append(hired)
    if over:
        hired.dismiss()


def leave(run: str) -> None:
    """The run is over: end its workers on this machine, and those that are at work when they have done their unit."""
    with _lock:
        _over.add(run)
        some = _idle.pop(run, [])
    for hired in some:
        hired.dismiss()
