"""Small things kept on disk between runs, many in one file.

To make a file takes longer than to make most of what is kept here.  So each process appends to a pack of its own, which
it shares with nobody who writes, and reads those of all others.  Beside a pack lies an index of keys and places.  Each
entry begins with the digest of its key and content, so whatever a crash, a full disk or a person left is either what
was written or is not taken.  A cache that cannot be read or written costs time and no result.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import NamedTuple

from conformance.backends.export_cache import ABANDONED, FRESH, KEPT_SHARE, Contents

SMALL = 1 << 20  # bytes; packs below are joined
MANY = 32  # small packs, from which on they are joined
AHEAD = 1 << 16  # bytes that are read at once: what follows in a pack is most often what is wanted next
LOOKS = 8  # how many times the folder is looked through while a limit's worth of bytes is written
_PACK, _INDEX = ".pack", ".index"
_ENTRY = struct.Struct("<32sQQ")  # key, where in the pack, bytes of the payload
_DIGEST = hashlib.sha256().digest_size


class _Place(NamedTuple):
    pack: Path
    start: int
    size: int


class _Pack(NamedTuple):
    used: float  # when it was last written or read; the least recently used come first
    path: Path
    size: int  # bytes, the index included


@dataclass(slots=True)
class _Own:
    """The pack of this process, and how far it is written."""

    pack: FileIO
    index: FileIO
    path: Path
    end: int = 0
    entries: int = 0

    def append(self, key: bytes, payload: bytes) -> _Place:
        """The content first, then the index: what was torn is not in it.

        Raises:
            OSError: the disk took no more.
        """
        data = _digest(key, payload) + payload
        _put(self.pack, self.end, data)
        _put(self.index, self.entries * _ENTRY.size, _ENTRY.pack(key, self.end, len(payload)))
        place = _Place(self.path, self.end, len(payload))
        self.end += len(data)
        self.entries += 1
        return place


class PackCache:
    """Bytes by key, where a key is a SHA-256 in hexadecimal.  Never raises for what it finds in its folder."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._known: dict[bytes, _Place] | None = None
        self._files: dict[Path, FileIO | BufferedReader] = {}
        weakref.finalize(self, _close, self._files)
        self._own: _Own | None = None
        self._refused = False  # the disk took nothing once
        self._unseen = 0  # bytes written since the folder was looked through

    def get(self, key: str) -> bytes | None:
        """What was put under the key, or None; what is damaged is forgotten, so that it is made anew."""
        name = bytes.fromhex(key)
        place = self._places().get(name)
        if place is None:
            return None
        try:
            file = self._opened(place.pack)
            file.seek(place.start)
            digest, payload = file.read(_DIGEST), file.read(place.size)
        except OSError:
            digest = payload = b""
        if digest != _digest(name, payload):
            del self._places()[name]
            return None
        return payload

    def put(self, key: str, payload: bytes) -> None:
        """Keep a payload under a key; the latest counts."""
        if self._refused or self.get(key) == payload:
            return
        try:
            self._keep(bytes.fromhex(key), payload)
            self._unseen += len(payload)
            if self._unseen >= self.limit // LOOKS:
                self.tidy()
        except OSError:
            self._refused = True

    def tidy(self) -> None:
        """Remove the least recently used packs beyond the limit, and join small ones that nobody writes any more."""
        self._unseen = 0
        packs = self._packs()
        held = sum(pack.size for pack in packs)
        others = [pack for pack in packs if self._own is None or pack.path != self._own.path]
        if held > self.limit:
            while others and held > self.limit * KEPT_SHARE:
                oldest = others.pop(0)
                held -= oldest.size
                _remove(oldest.path)
        before = time.time() - ABANDONED
        small = [pack.path for pack in others if pack.size < SMALL and pack.used < before]
        if len(small) > MANY:
            self._join(frozenset(small))

    def contents(self) -> Contents:
        """What is kept, by all processes."""
        self._known = None
        size = sum(pack.size for pack in self._packs())
        return Contents(self.folder, len(self._places()), size, 0, self.limit)

    def clear(self) -> Contents:
        """Remove every pack, and nothing else; what was there before."""
        before = self.contents()
        with suppress(OSError):
            for suffix in (_INDEX, _PACK):
                for file in list(self.folder.glob(f"*{suffix}")):
                    file.unlink(missing_ok=True)
            self.folder.rmdir()
        self._known, self._own = None, None
        _close(self._files)
        return before

    def _keep(self, key: bytes, payload: bytes) -> None:
        if self._own is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{time.time_ns()}-{os.getpid()}-{secrets.token_hex(4)}{_PACK}"
            pack = self._files[path] = FileIO(path, "x+")
            index = self._files[path.with_suffix(_INDEX)] = FileIO(path.with_suffix(_INDEX), "x")
            self._own = _Own(pack, index, path)
            self.tidy()
        self._places()[key] = self._own.append(key, payload)

    def _join(self, small: frozenset[Path]) -> None:
        for key, place in list(self._places().items()):
            if place.pack in small:
                payload = self.get(key.hex())
                if payload is not None:
                    self._keep(key, payload)
        for pack in small:
            _remove(pack)

    def _places(self) -> dict[bytes, _Place]:
        """Where everything is, as it was when this process first asked, and what it wrote since."""
        if self._known is None:
            self._known = known = {}
            for pack in sorted(self._packs(), key=lambda pack: pack.path):  # by age: of one key the latest counts
                with suppress(OSError):
                    entries = pack.path.with_suffix(_INDEX).read_bytes()
                    whole, end = len(entries) - len(entries) % _ENTRY.size, pack.path.stat().st_size
                    for key, start, size in _ENTRY.iter_unpack(entries[:whole]):
                        if start + _DIGEST + size <= end:
                            known[key] = _Place(pack.path, start, size)
        return self._known

    def _opened(self, pack: Path) -> FileIO | BufferedReader:
        file = self._files.get(pack)
        if file is None:
            file = self._files[pack] = BufferedReader(FileIO(pack), AHEAD)
            if abs(time.time() - os.fstat(file.fileno()).st_mtime) > FRESH:
                with suppress(OSError):
                    os.utime(pack)  # the least recently used go first
        return file

    def _packs(self) -> list[_Pack]:
        """Those of all processes, the least recently used first."""
        found = []
        with suppress(OSError):
            for path in self.folder.glob(f"*{_PACK}"):
                with suppress(OSError):  # another process may have removed it
                    pack = path.stat()
                    found.append(_Pack(pack.st_mtime, path, pack.st_size + _size(path.with_suffix(_INDEX))))
        return sorted(found)


def _digest(key: bytes, payload: bytes) -> bytes:
    """The key is part of it: another entry is no answer either."""
    digest = hashlib.sha256(key)
    digest.update(payload)
    return digest.digest()


def _put(file: FileIO, place: int, data: bytes) -> None:
    file.seek(place)
    while data:
        data = data[file.write(data) :]


def _close(files: dict[Path, FileIO | BufferedReader]) -> None:
    for file in files.values():
        file.close()
    files.clear()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _remove(pack: Path) -> None:
    for file in (pack.with_suffix(_INDEX), pack):
        with suppress(OSError):
            file.unlink()
