"""Exported models and failures to export, in memory and on disk, under the digest of what they depend on."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec
import onnx

from conformance.backends.export_cache import ExportCache, standard_cache
from conformance.backends.reasons import stated
from conformance.backends.toolchain import toolchain
from conformance.observation import Unsupported

_KEPT_BYTES = 256 * 2**20


class Slot(msgspec.Struct, frozen=True):
    """Where in the bytes of a model a tensor of the state lies: from ``start`` to ``end``."""

    name: str
    start: int
    end: int


class Made(msgspec.Struct, frozen=True, tag=True):
    """A model, well formed.  ``slots`` are those of its initializers that only hold a parameter or buffer."""

    model: bytes
    slots: tuple[Slot, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The exporter refused, in these words."""

    words: str


class Bytewise(msgspec.Struct, frozen=True, tag=True):
    """The exporter computed with the values of the state: every state has a model of its own."""


Entry = Made | Failed | Bytewise
_ENTRIES = msgspec.msgpack.Decoder(Entry)


def entry_of(outcome: onnx.ModelProto | Unsupported) -> Made | Failed:
    """What an exporter made, as it is kept: whole, if the checker of onnx has nothing against it."""
    if isinstance(outcome, Unsupported):
        return Failed(str(outcome))
    try:
        onnx.checker.check_model(outcome)
    except Exception as error:  # noqa: BLE001 - the checker's own words are the outcome
        return Failed(str(stated("load", error)))
    return Made(outcome.SerializeToString(deterministic=True))


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
        self.keep(digest, entry_of(outcome))

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
        if self._disk is not None and not (isinstance(entry, Failed) and passing(entry.words)):
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


def passing(words: str) -> bool:
    """Whether something failed for want of memory or disk, which says nothing about the next time."""
    lowered = words.lower()
    return any(sign in lowered for sign in ("memory", "oserror", "no space", "too many open files"))
