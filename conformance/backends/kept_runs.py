"""What a case comes to at each step, kept in one piece: the graph with its state, or the words of a refusal.

Plans say which graphs a case runs, and models are those graphs; this is what both come to for the case's own inputs, so
that a run that has been before reads one file for a case and looks nothing else up.  It is never needed: what is not
here, or was damaged, is put together again from plans and models.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from conformance.backends.export_cache import standard_cache
from conformance.backends.models import passing
from conformance.backends.plans import KeptTensor
from conformance.backends.toolchain import toolchain
from conformance.cache_folder import RUNS_LIMIT, runs_folder
from conformance.input_cache import making
from conformance.pack_cache import PackCache
from conformance.source_digest import source_digest
from conformance.suite.by_identity import by_identity
from conformance.suite.case import Case
from conformance.suite.identity import spelled

_FORM = 2  # of what is written; another number makes everything anew
_DECIDING = ("backends/kept_runs.py", "backends/onnx_capture.py")  # beside what makes graphs and inputs
_IN_MEMORY = 128  # cases; a worker is given fewer at once
_LARGEST = 1 << 18  # bytes of all graphs of a case; of larger ones, finding them is a small part of the time


class ReadyStep(msgspec.Struct, frozen=True, array_like=True):
    """A graph with its state, or the words in which it was refused; what training made of the parameters there.

    ``opened``: of a network, the same graph with everything that its nodes compute as outputs.
    """

    graph: bytes
    refused: str = ""
    trained: tuple[KeptTensor, ...] = ()
    opened: bytes = b""


class KeptRun(msgspec.Struct, frozen=True, array_like=True):
    """The steps that were reached, or a graph for each of their phases, from the first; a refusal is the last."""

    steps: tuple[ReadyStep, ...]


_RUNS = msgspec.msgpack.Decoder(KeptRun)


class KeptRuns:
    """Steps by case; without a disk, none."""

    def __init__(self, disk: PackCache | None = None, scope: str = "") -> None:
        self._disk = disk
        self._scope = hashlib.sha256(scope.encode()).digest()
        self._entries: OrderedDict[str, KeptRun] = OrderedDict()
        self._name = by_identity(self._named)

    @classmethod
    def kept(cls, exporter: str) -> KeptRuns:
        """Those of this machine, for as long as exporter, packages and whatever makes inputs stay as they are."""
        return cls(
            None if standard_cache() is None else _in(runs_folder()),
            f"run {exporter}\n{toolchain()}\n{making().hex()}\n{source_digest(_FORM, _DECIDING).hex()}\n",
        )

    def steps(self, case: Case) -> tuple[ReadyStep, ...]:
        """The first steps of a case, with its own inputs, as far as they are known."""
        return () if self._disk is None else self._get(self._name(case)).steps

    def complete(self, case: Case) -> bool:
        """Whether nothing is left to be made for a case."""
        steps = self.steps(case)
        return bool(steps) and (len(steps) == len(case.steps) or bool(steps[-1].refused))

    def keep(self, case: Case, steps: Sequence[ReadyStep]) -> None:
        """Keep the first steps of a case, unless they are too large or end in what says nothing about the next time."""
        if self._disk is None or not steps or passing(steps[-1].refused):
            return
        if sum(len(step.graph) + len(step.opened) for step in steps) > _LARGEST:
            return
        name, run = self._name(case), KeptRun(tuple(steps))
        self._remember(name, run)
        self._disk.put(name, msgspec.msgpack.encode(run))

    def _named(self, case: Case) -> str:
        return hashlib.sha256(self._scope + spelled(case)).hexdigest()

    def _get(self, name: str) -> KeptRun:
        found = self._entries.get(name)
        if found is not None:
            return found
        assert self._disk is not None
        data = self._disk.get(name)
        try:
            read = KeptRun(()) if data is None else _RUNS.decode(data)
        except msgspec.MsgspecError:  # whole, but not ours
            read = KeptRun(())
        if read.steps:
            self._remember(name, read)
        return read

    def _remember(self, name: str, run: KeptRun) -> None:
        self._entries[name] = run
        self._entries.move_to_end(name)
        while len(self._entries) > _IN_MEMORY:
            self._entries.popitem(last=False)


@cache
def _in(folder: Path) -> PackCache:
    """One for all backends of a process, which then looks through the folder once."""
    return PackCache(folder, RUNS_LIMIT)
