"""Exported models and failures to export, in memory and on disk, under the digest of what they depend on."""

from __future__ import annotations

import hashlib
import platform
from collections import OrderedDict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import onnx
import torch

from conformance.backends.export_cache import ExportCache, standard_cache
from conformance.observation import Unsupported

_KEPT_BYTES = 256 * 2**20
_PACKAGES = ("onnx", "onnxscript", "onnx-ir", "numpy", "ml_dtypes")  # torch says more than its version


class Made(msgspec.Struct, frozen=True, tag=True):
    """A model.  ``slots`` maps those of its initializers that only hold a parameter or buffer to the name of that."""

    model: bytes
    slots: dict[str, str] = {}


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The exporter refused, in these words."""

    words: str


class Bytewise(msgspec.Struct, frozen=True, tag=True):
    """The exporter computed with the values of the state: every state has a model of its own."""


Entry = Made | Failed | Bytewise
_ENTRIES = msgspec.msgpack.Decoder(Entry)


class Models:
    """What exporters made.  The least recently used leave memory when they grow too large; the disk has its own limit.

    ``scope`` names the exporter and everything else that its callers' digests do not say.
    """

    def __init__(self, limit: int = _KEPT_BYTES, *, disk: ExportCache | None = None, scope: str = "") -> None:
        self._limit = limit
        self._held = 0
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._disk = disk
        self._scope = scope

    @classmethod
    def kept(cls, exporter: str) -> Models:
        """Models that outlive the process, for as long as packages and exporting code stay as they are."""
        return cls(disk=standard_cache(), scope=f"{exporter}\n{toolchain()}")

    def __contains__(self, digest: str) -> bool:
        return self.entry(digest) is not None

    def get(self, digest: str) -> onnx.ModelProto | Unsupported | None:
        """The model, or why there is none; None where nobody tried yet."""
        match self.entry(digest):
            case Made(model=model):
                return onnx.load_model_from_string(model)
            case Failed(words=words):
                return Unsupported(words)
            case _:
                return None

    def put(self, digest: str, outcome: onnx.ModelProto | Unsupported) -> None:
        if isinstance(outcome, Unsupported):
            self.keep(digest, Failed(str(outcome)))
        else:
            self.keep(digest, Made(outcome.SerializeToString(deterministic=True)))

    def entry(self, digest: str) -> Entry | None:
        found = self._entries.get(digest)
        if found is not None:
            self._entries.move_to_end(digest)
            return found
        data = self._disk.get(self._name(digest)) if self._disk is not None else None
        if data is None:
            return None
        try:
            read: Entry = _ENTRIES.decode(data)
        except msgspec.MsgspecError:  # whole, but not ours
            return None
        self._remember(digest, read)
        return read

    def keep(self, digest: str, entry: Entry) -> None:
        self._remember(digest, entry)
        if self._disk is not None and not _passing(entry):
            self._disk.put(self._name(digest), msgspec.msgpack.encode(entry))

    def _name(self, digest: str) -> str:
        return hashlib.sha256(f"{self._scope}\n{digest}".encode()).hexdigest()

    def _remember(self, digest: str, entry: Entry) -> None:
        self._held += _size(entry) - _size(self._entries.pop(digest, None))
        self._entries[digest] = entry
        while self._held > self._limit and len(self._entries) > 1:
            self._held -= _size(self._entries.popitem(last=False)[1])


def _size(entry: Entry | None) -> int:
    return len(entry.model) if isinstance(entry, Made) else 0


def _passing(entry: Entry) -> bool:
    """Whether it failed for want of memory or disk, which says nothing about the next time."""
    words = entry.words.lower() if isinstance(entry, Failed) else ""
    return any(sign in words for sign in ("memory", "oserror", "no space", "too many open files"))


@cache
def toolchain() -> str:
    """What decides an export beside the layer: the packages, the interpreter, and every line of the backends."""
    lines = [f"python {platform.python_version()} {platform.machine()}"]
    lines.append(f"torch {torch.__version__} {getattr(torch.version, 'git_version', '')}")
    for name in _PACKAGES:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} missing")
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        code.update(file.read_bytes())
    lines.append(f"code {code.hexdigest()}")
    return "\n".join(lines)
