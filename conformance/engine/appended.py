"""A file to which one process at a time appends whole lines; a line that was torn is cut off again."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from conformance.errors import ConformanceError, UsageError
from conformance.record import Line


class StorageError(ConformanceError):
    """The disk took no more; what it had taken is kept, so the run is interrupted and can be finished."""

    exit_code = 2


class Appended:
    """The lines of one file.  Opened when first needed, and held against every other process until closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def hold(self) -> int:
        """Open the file, which no other process may then write.

        Raises:
            UsageError: another process is writing it.
            StorageError: it cannot be opened.
        """
        if self._file is None:
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            except OSError as error:
                raise self._unwritable(error) from error
            try:
                _lock(file)
            except BlockingIOError as error:
                os.close(file)
                raise UsageError(
                    f"another process is still writing {self._path}",
                    hint="wait until it ends; conformance report shows what it has so far",
                ) from error
            self._file = file
        return self._file

    def add(self, *lines: Line) -> None:
        """Append lines; when this returns, the death of this process cannot lose them.

        Raises:
            StorageError: the disk is full, or no longer there.
        """
        if not lines:
            return
        data = b"".join(_encoded(line) + b"\n" for line in lines)
        file = self.hold()
        try:
            while data:  # a disk that is nearly full takes a part, and refuses the rest
                data = data[os.write(file, data) :]
        except OSError as error:
            raise self._unwritable(error) from error

    def mend(self, whole: Callable[[bytes], bool]) -> int:
        """Cut off what is no whole line at the end, and return the number of lines that stay."""
        if not self._path.is_file():
            return 0
        data = self._path.read_bytes()
        lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
        while lines and not whole(lines[-1]):
            lines.pop()
        kept = sum(map(len, lines))
        if kept != len(data):
            os.ftruncate(self.hold(), kept)
        return len(lines)

    def close(self) -> None:
        """Bring it to the disk and let others at it."""
        if self._file is not None:
            with suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot write {self._path}: {error.strerror}",
            hint=f"what it holds is kept; make room, then: conformance run --resume {self._path.parent}",
        )


def _encoded(line: Line) -> bytes:
    try:
        return msgspec.json.encode(line)
    except UnicodeEncodeError:  # names of files that the locale does not know, as Python passes them on
        return msgspec.json.encode(_in_unicode(msgspec.to_builtins(line)))


def _in_unicode(value: Any) -> Any:
    """The same, with the bytes that stand in text as lone surrogates read as UTF-8, which is what they mostly are."""
    match value:
        case str():
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        case dict():
            return {_in_unicode(name): _in_unicode(part) for name, part in value.items()}
        case list() | tuple():
            return [_in_unicode(part) for part in value]
        case _:
            return value


def _lock(file: int) -> None:
    """Take the file for this process, whose end, however it comes, gives it back.

    Raises:
        BlockingIOError: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks here: then two processes at one run are not told apart
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return
