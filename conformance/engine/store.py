"""The record file of a run: header, one line per record, footer; append-only, and without a footer interrupted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import overload

import msgspec

from conformance.engine.appended import Appended
from conformance.errors import ConformanceError, UsageError
from conformance.record import Footer, Header, Line, Record

ROOT = Path(".conformance")
RECORDS = "records.jsonl"
HELD = "held.jsonl"  # records that came before their turn, so that no end of the run can lose them
LATEST = "latest"
IN_MEMORY = 20_000  # records; of a larger run none are kept
EVIDENCE = "failures"  # the folder of what backends keep of failures


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as its file tells it.  ``footer`` is None when it was interrupted.

    ``records`` of a large run stay on the disk and are read again each time they are gone through.
    """

    header: Header
    records: Sequence[Record]
    footer: Footer | None
    path: Path | None = None


class Store:
    """Writes one run.  Every line has left this process before the next record is looked at."""

    def __init__(self, folder: Path, *, header: Header | None = None, done: tuple[Record, ...] = ()) -> None:
        self.folder = folder
        self.header = header
        self.done: Sequence[Record] = done
        self._written = 0
        self._records = Appended(folder / RECORDS)
        self._held = Appended(folder / HELD)

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
            UsageError: there is no such run, it is complete, or another process is at it.
        """
        file = find(path)
        store = cls(file.parent)
        store._records.hold()  # before reading: what is read must not grow
        try:
            run = _unfinished(file)
            store._written = store._records.mend(lambda line: _decoded(line) is not None) - 1
            store._held.mend(lambda line: _decoded(line) is not None)
        except BaseException:
            store.close()
            raise
        store.header, store.done = run.header, run.records
        return store

    def begin(self, header: Header) -> None:
        """Write the header."""
        self.header = header
        self._records.add(header)

    def add(self, records: Sequence[Record]) -> None:
        """Append records."""
        self._records.add(*records)

    @property
    def written(self) -> int:
        """Records that are in the file already."""
        return self._written

    def hold(self, records: Sequence[Record]) -> None:
        """Put aside records whose turn has not come."""
        self._held.add(*records)

    def finish(self, footer: Footer) -> None:
        """Write the footer: the run is complete."""
        self._records.add(footer)
        self._held.close()
        (self.folder / HELD).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the files; without a footer the run stays interrupted."""
        self._records.close()
        self._held.close()


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


def lines_of(file: Path) -> Iterator[Header | Record | Footer]:
    """Every line of a record file, one at a time; a torn last one is left out.

    Raises:
        ConformanceError: a line that is not the last is no record, or the header is not first.
    """
    whole, footer = 0, False
    with file.open("rb") as lines:
        for line in lines:
            decoded = _decoded(line) if line.endswith(b"\n") else None
            if decoded is None and not lines.read(1):
                break  # torn
            if decoded is None or footer or isinstance(decoded, Header) != (whole == 0):
                raise ConformanceError(
                    f"{file}:{whole + 1}: this line is {'out of place' if decoded else 'not a record'}",
                    hint="a record file is a header, records and a footer; something else changed this one: run again",
                )
            whole, footer = whole + 1, isinstance(decoded, Footer)
            yield decoded
    if not whole:
        raise ConformanceError(f"{file}:1: no header", hint="the run ended before it began: run again")


class OnDisk(Sequence[Record]):
    """The records of a file, none of which is kept in memory; then those that were put aside."""

    def __init__(self, file: Path, count: int, more: Sequence[Record] = ()) -> None:
        self._file = file
        self._count = count
        self._more = more

    def __len__(self) -> int:
        return self._count + len(self._more)

    def __iter__(self) -> Iterator[Record]:
        lines = (line for line in lines_of(self._file) if isinstance(line, Record))
        return chain(islice(lines, self._count), self._more)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | Sequence[Record]:
        if isinstance(place, slice):
            return tuple(self)[place]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return next(islice(self, place % len(self), None))


def read_run(path: Path) -> StoredRun:
    """Read a run, complete or not.

    Raises:
        ConformanceError: a line that is not the last is no record, or the header is not first.
    """
    file = find(path)
    header: Header | None = None
    footer: Footer | None = None
    records: list[Record] = []
    names: set[tuple[str, str]] = set()
    count, in_memory = 0, _count_lines(file) <= IN_MEMORY
    for line in lines_of(file):
        match line:
            case Header():
                header = line
            case Record():
                count += 1
                names.add((line.id, line.backend))
                if in_memory:
                    records.append(line)
            case Footer():
                footer = line
    assert header is not None
    held = _held(file.parent / HELD, names) if footer is None else []
    kept = (*records, *held) if in_memory else OnDisk(file, count, held)
    return StoredRun(header=header, records=kept, footer=footer, path=file)


def _count_lines(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: lines.read(1 << 20), b""))


def _unfinished(file: Path) -> StoredRun:
    run = read_run(file)
    if run.footer is not None:
        raise UsageError(
            f"the run in {file} is complete: there is nothing to resume",
            hint="start a new one with: conformance run",
        )
    return run


def _held(file: Path, known: set[tuple[str, str]]) -> list[Record]:
    if not file.is_file():
        return []
    held: dict[tuple[str, str], Record] = {}
    for text in file.read_bytes().splitlines():
        line = _decoded(text)
        if isinstance(line, Record) and (line.id, line.backend) not in known:
            held.setdefault((line.id, line.backend), line)
    return list(held.values())
