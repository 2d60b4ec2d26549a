"""What exporters made, kept on disk between runs.

One file holds one outcome, under the digest of everything that it depends on.  A file begins with the digest of its own
name and content, so whatever a crash, a full disk or a person left there is either what was written or is thrown away.
Writers put a whole file beside its place and then move it there; no process ever waits for another, and none leaves a
lock behind when it dies.  A cache that cannot be read or written costs time and no result.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from conformance.cache_folder import cache_folder
from conformance.errors import UsageError

SWITCH_VARIABLE = "CONFORMANCE_CACHE"  # "off": neither read nor write
LIMIT = 512 * 2**20  # bytes; about a hundred times what the shipped suite needs
KEPT_SHARE = 0.8  # what is left after tidying up, so that not every file that is written tidies up again
LOOKS = 64  # how many times the folder is looked through while a limit's worth of bytes is written
FRESH = 3600.0  # seconds during which a file that was used need not be marked as used again
ABANDONED = 3600.0  # seconds after which an unfinished file has lost its writer
_MAGIC = b"conformance export 1\n"
_HEAD = len(_MAGIC) + hashlib.sha256().digest_size
_SUFFIX = ".export"
_UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a cache holds: whole files, and what writers did not finish."""

    folder: Path
    entries: int
    size: int
    unfinished: int
    limit: int


class ExportCache:
    """Bytes by key, where a key is a digest in hexadecimal.  Never raises for what it finds in its folder."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._folder = f"{folder}{os.sep}"
        self._unseen = limit  # bytes written since the folder was looked through; the first write looks

    def get(self, key: str) -> bytes | None:
        """What was put under the key, or None; a damaged file is removed, so that it is made anew."""
        place = self._place(key)
        try:
            data, used = _read(place)
        except OSError:
            return None
        payload = data[_HEAD:]
        if data[:_HEAD] != _head(key, payload):
            with suppress(OSError):
                os.unlink(place)  # noqa: PTH108 - see _place
            return None
        if abs(time.time() - used) > FRESH:
            with suppress(OSError):
                os.utime(place)  # the least recently used go first
        return payload

    def put(self, key: str, payload: bytes) -> None:
        """Keep a payload under a key; the latest writer wins, and writers of one key write the same."""
        place = self._place(key)
        aside = f"{place.removesuffix(_SUFFIX)}.{os.getpid()}-{secrets.token_hex(4)}{_UNFINISHED}"
        data = _head(key, payload) + payload
        try:
            try:
                _write(aside, data)
            except FileNotFoundError:  # the first of its folder
                Path(place).parent.mkdir(parents=True, exist_ok=True)
                _write(aside, data)
            os.replace(aside, place)  # noqa: PTH105 - see _place
        except BaseException as error:
            with suppress(OSError):
                os.unlink(aside)  # noqa: PTH108 - see _place
            if not isinstance(error, OSError):
                raise
            return
        self._unseen += len(payload)
        if self._unseen >= self.limit // LOOKS:
            self.tidy()

    def tidy(self) -> None:
        """Remove what lost its writer, and the least recently used files beyond the limit."""
        self._unseen = 0
        now = time.time()
        for file in self._files(_UNFINISHED):
            with suppress(OSError):
                if now - file.stat().st_mtime > ABANDONED:
                    file.unlink()
        known = sorted(_known(self._files(_SUFFIX)))
        held = sum(size for _, size, _ in known)
        if held <= self.limit:
            return
        for _, size, file in known:
            if held <= self.limit * KEPT_SHARE:
                return
            with suppress(OSError):  # another process may have removed it
                file.unlink()
            held -= size

    def contents(self) -> Contents:
        known = list(_known(self._files(_SUFFIX)))
        unfinished = sum(1 for _ in self._files(_UNFINISHED))
        return Contents(self.folder, len(known), sum(size for _, size, _ in known), unfinished, self.limit)

    def clear(self) -> Contents:
        """Remove everything that this class wrote, and nothing else; what was there before."""
        before = self.contents()
        for suffix in (_SUFFIX, _UNFINISHED):
            for file in list(self._files(suffix)):
                with suppress(OSError):
                    file.unlink()
                with suppress(OSError):  # not empty yet
                    file.parent.rmdir()
        return before

    def _place(self, key: str) -> str:
        """Where a key's file is; no Path, which takes as long to make as a small file to read."""
        return f"{self._folder}{key[:2]}{os.sep}{key}{_SUFFIX}"

    def _files(self, suffix: str) -> Iterator[Path]:
        with suppress(OSError):
            yield from self.folder.glob(f"??/*{suffix}")


def _read(place: str) -> tuple[bytes, float]:
    """What a file holds and when it was last used, in half the calls that a file object makes."""
    descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(descriptor)
        data = os.read(descriptor, found.st_size)
        while len(data) < found.st_size and (more := os.read(descriptor, found.st_size - len(data))):
            data += more
        return data, found.st_mtime
    finally:
        os.close(descriptor)


def _write(place: str, data: bytes) -> None:
    """A new file, whole."""
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def _head(key: str, payload: bytes) -> bytes:
    """The key is part of the digest: a file under another name is no answer either."""
    digest = hashlib.sha256(key.encode() + b"\n")
    digest.update(payload)
    return _MAGIC + digest.digest()


def _known(files: Iterator[Path]) -> Iterator[tuple[float, int, Path]]:
    for file in files:
        with suppress(OSError):
            found = file.stat()
            yield found.st_mtime, found.st_size, file


def exports_folder() -> Path:
    """Where exports are kept on this machine."""
    return cache_folder() / "exports"


def standard_cache() -> ExportCache | None:
    """The cache of this machine; None where it is switched off.

    Raises:
        UsageError: the switch says neither on nor off.
    """
    switch = os.environ.get(SWITCH_VARIABLE, "on")
    if switch not in ("on", "off", ""):
        raise UsageError(
            f"the environment variable {SWITCH_VARIABLE} is {switch!r}", hint="set it to on or off, or remove it"
        )
    return None if switch == "off" else ExportCache(exports_folder())
