"""Expanded suites, kept on disk, so that listing three thousand cases does not parse and expand them again.

What is kept depends on the bytes of the files, the folder from which they are named, and the code that expands them;
anything that cannot be read is expanded anew.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec

from conformance.cache_folder import cache_folder
from conformance.suite.suite import Suite

KEPT = 16
"""How many expanded suites stay on disk."""

SMALL = 16_384
"""Files of fewer bytes than this expand as fast as they are read back."""

LARGE = 64 << 20
"""Files of more bytes than this are for the loader, which refuses what is too large."""


def kept(files: Sequence[Path], expand: Callable[[Sequence[Path]], Suite]) -> Suite:
    """What ``expand(files)`` returns, from disk where it was kept."""
    try:
        about = [file.stat() for file in files]
        if not all(stat.S_ISREG(each.st_mode) for each in about) or not SMALL < sum(a.st_size for a in about) < LARGE:
            return expand(files)
        texts = [file.read_bytes() for file in files]
    except OSError:
        return expand(files)  # which says what is wrong with the file
    place = cache_folder() / "suites" / f"{_name(files, texts)}.msgpack"
    with suppress(OSError, msgspec.MsgspecError):
        suite = msgspec.msgpack.decode(place.read_bytes(), type=Suite, dec_hook=_decoded)
        if suite.files == tuple(files):
            return suite
    suite = expand(files)
    with suppress(OSError):  # a read-only or full disk costs time, not results
        _keep(place, msgspec.msgpack.encode(suite, enc_hook=str))
    return suite


def _name(files: Sequence[Path], texts: Sequence[bytes]) -> str:
    digest = sha256(repr((sys.version, os.getcwd(), list(map(str, files)))).encode())  # noqa: PTH109 - its text is hashed
    for text in texts:
        digest.update(sha256(text).digest())
    package = Path(__file__).parents[1]
    for folder in ("suite", "ops"):
        for source in sorted(os.scandir(package / folder), key=lambda entry: entry.name):
            if source.name.endswith(".py"):
                about = source.stat()
                digest.update(repr((source.path, about.st_size, about.st_mtime_ns)).encode())
    return digest.hexdigest()[:32]


def _keep(place: Path, data: bytes) -> None:
    """Write beside and rename, so that no reader ever sees half; then forget the oldest."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=place.parent, delete=False) as part:
        part.write(data)
    Path(part.name).replace(place)
    others = sorted(place.parent.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in others[KEPT:]:
        old.unlink(missing_ok=True)


def _decoded(kind: type, value: object) -> object:
    assert kind is Path
    return Path(str(value))
