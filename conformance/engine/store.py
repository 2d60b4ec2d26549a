"""The record file of a run: header, one line per record, footer; append-only, and without a footer interrupted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from conformance.errors import ConformanceError, UsageError
from conformance.record import Footer, Header, Line, Record

ROOT = Path(".conformance")
RECORDS = "records.jsonl"
HELD = "held.jsonl"  # records that an interrupted run had, but whose turn had not come
LATEST = "latest"
EVIDENCE = "failures"  # the folder of what backends keep of failures


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as its file tells it.  ``footer`` is None when it was interrupted."""

    header: Header
    records: tuple[Record, ...]
    footer: Footer | None
    path: Path | None = None


class Store:
    """Writes one run.  Every line is on its way to the disk before the next record is looked at."""

    def __init__(self, folder: Path, *, header: Header | None = None, done: tuple[Record, ...] = ()) -> None:
        self.folder = folder
        self.header = header
        self.done = done
        self._written = 0
        self._file: BinaryIO | None = None

    @property
    def path(self) -> Path:
        """The record file."""
        return self.folder / RECORDS

    @classmethod
    def create(cls, root: Path = ROOT, *, now: datetime | None = None) -> Store:
        """A new run in a folder of its own under ``root``, which ``latest`` then points to."""
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
        for attempt in range(1000):
            folder = root / (stamp if not attempt else f"{stamp}-{attempt}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise UsageError(
                    f"cannot write the records of this run to {folder}: {error.strerror}",
                    hint="run from a folder that you may write to",
                ) from error
            _point(root, folder)
            return cls(folder)
        raise UsageError(f"{root} holds a thousand runs of this second", hint=f"remove {root}")

    @classmethod
    def resume(cls, path: Path) -> Store:
        """An interrupted run, to be finished: a torn last line is cut off, what is complete is kept.

        Raises:
            UsageError: there is no such run, or it is complete.
        """
        file = find(path)
        run = read_run(file)
        if run.footer is not None:
            raise UsageError(
                f"the run in {file} is complete: there is nothing to resume",
                hint="start a new one with: conformance run",
            )
        data = file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.splitlines(keepends=True)
        while lines and _decoded(lines[-1]) is None:
            lines.pop()
        if len(b"".join(lines)) != len(data):
            with file.open("r+b") as handle:
                handle.truncate(len(b"".join(lines)))
        store = cls(file.parent, header=run.header, done=run.records)
        store._written = len(lines) - 1
        return store

    def _append(self, line: Line) -> None:
        if self._file is None:
            self._file = self.path.open("ab")
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()

    def begin(self, header: Header) -> None:
        """Write the header."""
        self.header = header
        self._append(header)

    def add(self, record: Record) -> None:
        """Append a record."""
        self._append(record)

    @property
    def written(self) -> int:
        """Records that are in the file already."""
        return self._written

    def keep(self, held: Iterable[Record]) -> None:
        """Put aside what an interrupted run knows beyond the records in order."""
        lines = [msgspec.json.encode(record) + b"\n" for record in held]
        if lines:
            (self.folder / HELD).write_bytes(b"".join(lines))

    def finish(self, footer: Footer) -> None:
        """Write the footer: the run is complete."""
        self._append(footer)
        (self.folder / HELD).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the file; without a footer the run stays interrupted."""
        if self._file is not None:
            with suppress(OSError):
                os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _point(root: Path, folder: Path) -> None:
    latest = root / LATEST
    aside = root / f".{LATEST}-{os.getpid()}"
    try:
        aside.unlink(missing_ok=True)
        aside.symlink_to(folder.name)
    except OSError:  # no symbolic links here
        aside.write_text(folder.name + "\n")
    aside.replace(latest)


def find(path: Path) -> Path:
    """The record file that a path means: the file, its folder, or a pointer such as ``latest``.

    Raises:
        UsageError: there is none.
    """
    place = path
    if place.is_file() and place.name == LATEST:
        place = place.parent / place.read_text().strip()
    if place.is_symlink() and place.is_dir():
        place = place.parent / place.readlink()  # the name of the run, which the pointer will not mean for ever
    if place.is_dir():
        place = place / RECORDS
    if not place.is_file():
        raise UsageError(f"no stored run at {path}", hint="run the suite first: conformance run")
    return place


def _decoded(line: bytes) -> Header | Record | Footer | None:
    try:
        decoded: Header | Record | Footer = _LINES.decode(line)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    return decoded


_LINES = msgspec.json.Decoder(Line)


def read_run(path: Path) -> StoredRun:
    """Read a run, complete or not.

    Raises:
        ConformanceError: a line that is not the last is no record, or the header is not first.
    """
    file = find(path)
    lines = file.read_bytes().splitlines(keepends=True)
    read: list[Header | Record | Footer] = []
    for number, line in enumerate(lines, start=1):
        decoded = _decoded(line) if line.endswith(b"\n") else None
        if decoded is None and number == len(lines):
            break  # torn
        misplaced = isinstance(decoded, Header) != (number == 1) or (
            isinstance(decoded, Footer) and number < len(lines)
        )
        if decoded is None or misplaced:
            raise ConformanceError(
                f"{file}:{number}: this line is {'out of place' if decoded else 'not a record'}",
                hint="a record file is a header, records and a footer; something else changed this one: run again",
            )
        read.append(decoded)
    if not read or not isinstance(read[0], Header):
        raise ConformanceError(f"{file}:1: no header", hint="the run ended before it began: run again")
    footer = read[-1] if isinstance(read[-1], Footer) else None
    records = [line for line in read if isinstance(line, Record)]
    if footer is None:
        records += _held(file.parent / HELD, {(record.id, record.backend) for record in records})
    return StoredRun(header=read[0], records=tuple(records), footer=footer, path=file)


def _held(file: Path, known: set[tuple[str, str]]) -> list[Record]:
    if not file.is_file():
        return []
    lines = [_decoded(line) for line in file.read_bytes().splitlines()]
    return [line for line in lines if isinstance(line, Record) and (line.id, line.backend) not in known]
