"""What the engine and a worker process say to each other; each message travels as JSON."""

from __future__ import annotations

import msgspec

from conformance.record import Record
from conformance.suite.case import Case, Divergence


class Assignment(msgspec.Struct, frozen=True):
    """A case and the backends it goes to now."""

    case: Case
    backends: tuple[str, ...]


class Setup(msgspec.Struct, frozen=True, tag=True):
    """To the worker, once: what to load and where things go.

    log: the file that takes its standard error.  mark: the file in which it says what it is at.  evidence: the folder
    of what backends keep of failures.
    """

    tools: str
    backends: tuple[str, ...]
    divergences: dict[str, Divergence]
    log: str
    mark: str
    evidence: str = ""


class Work(msgspec.Struct, frozen=True, tag=True):
    """To the worker: one unit of work.  number: of the units that this worker was given."""

    number: int
    assignments: tuple[Assignment, ...]
    prepare: bool


class Loading(msgspec.Struct, frozen=True, tag=True):
    backend: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Everything is loaded: versions by package, missing backends with the reason, devices."""

    versions: dict[str, str]
    missing: dict[str, str]
    devices: dict[str, str]


class Finished(msgspec.Struct, frozen=True, tag=True):
    """Records, several in one message: for small cases a message takes longer than the case."""

    records: tuple[Record, ...]


class Note(msgspec.Struct, frozen=True, tag=True):
    text: str


class UnitDone(msgspec.Struct, frozen=True, tag=True):
    pass


FromWorker = Loading | Ready | Finished | Note | UnitDone
ToWorker = Setup | Work
