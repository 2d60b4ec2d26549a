"""Plans, kept on disk: what torch made of the state of a case need not be made again, and torch not be imported.

A plan is kept under its case and holds the digest of the inputs for which it was made, so that it is made anew where
those change.  Of the state it holds only what is not among the inputs: buffers that training moved, and what the
constructor of a layer made otherwise.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np

from conformance.backends.arrays import dtype_called, name_of
from conformance.backends.export_cache import ExportCache, standard_cache
from conformance.backends.models import passing
from conformance.backends.planned import Planned
from conformance.backends.toolchain import toolchain
from conformance.inputs import Inputs
from conformance.observation import Array, Unsupported
from conformance.suite.case import Case
from conformance.suite.identity import spelled

_IN_MEMORY = 1024


class KeptTensor(msgspec.Struct, frozen=True, array_like=True):
    """A tensor of the state; without a dtype it is the one of this name among the inputs."""

    name: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    data: bytes = b""


class KeptStep(msgspec.Struct, frozen=True, array_like=True):
    digest: str
    whole: str
    state: tuple[KeptTensor, ...]
    trained: tuple[KeptTensor, ...] = ()


class KeptPlan(msgspec.Struct, frozen=True, array_like=True):
    """The steps of a plan, or the words in which torch refuses the case."""

    inputs: str
    steps: tuple[KeptStep, ...] = ()
    refused: str = ""


_PLANS = msgspec.msgpack.Decoder(KeptPlan)


class Plans:
    """Plans by case; the least recently used leave memory, and the disk has its own limit."""

    def __init__(self, *, disk: ExportCache | None = None, scope: str = "") -> None:
        self._disk = disk
        self._scope = scope.encode()
        self._entries: OrderedDict[str, KeptPlan] = OrderedDict()

    def known(self, case: Case) -> KeptPlan | None:
        """The plan that was last made for this case, for whatever inputs."""
        return self._get(self._name(case))

    def of(self, case: Case, inputs: Inputs) -> tuple[Planned, ...]:
        """What to run at each step.

        Raises:
            Unsupported: torch itself cannot build or train the module.
        """
        name, digest = self._name(case), _digest(case, inputs)
        kept = self._get(name)
        if kept is None or kept.inputs != digest:
            kept = self._made(case, inputs, digest)
            self._put(name, kept)
        if kept.refused:
            raise Unsupported(kept.refused)
        given = inputs.params | inputs.buffers
        return tuple(
            Planned(
                case, mode, each.x, arrays_of(step.state, given), step.digest, step.whole, arrays_of(step.trained, {})
            )
            for step, mode, each in zip(kept.steps, case.steps, inputs.steps, strict=True)
        )

    def _made(self, case: Case, inputs: Inputs, digest: str) -> KeptPlan:
        from conformance.backends.planning import plan

        given = inputs.params | inputs.buffers
        try:
            steps = tuple(
                KeptStep(
                    each.digest,
                    each.whole,
                    tuple(kept_tensor(name, array, given.get(name)) for name, array in each.state.items()),
                    tuple(kept_tensor(name, array) for name, array in each.trained.items()),
                )
                for each in plan(case, inputs)
            )
        except Unsupported as reason:
            return KeptPlan(digest, refused=str(reason) or "torch refuses the case without a word")
        return KeptPlan(digest, steps)

    def _name(self, case: Case) -> str:
        """A digest of everything that a case says."""
        return hashlib.sha256(self._scope + spelled(case)).hexdigest()

    def _get(self, name: str) -> KeptPlan | None:
        found = self._entries.get(name)
        if found is not None:
            self._entries.move_to_end(name)
            return found
        data = self._disk.get(name) if self._disk is not None else None
        if data is None:
            return None
        try:
            read = _PLANS.decode(data)
        except msgspec.MsgspecError:  # whole, but not ours
            return None
        self._remember(name, read)
        return read

    def _put(self, name: str, kept: KeptPlan) -> None:
        self._remember(name, kept)
        if self._disk is not None and not passing(kept.refused):
            self._disk.put(name, msgspec.msgpack.encode(kept))

    def _remember(self, name: str, kept: KeptPlan) -> None:
        self._entries[name] = kept
        self._entries.move_to_end(name)
        while len(self._entries) > _IN_MEMORY:
            self._entries.popitem(last=False)


def kept_plans() -> Plans:
    """The plans of this machine, shared by the backends of a process, whose exporters they do not depend on."""
    disk = standard_cache()
    return _in(disk.folder if disk is not None else None)


@cache
def _in(folder: Path | None) -> Plans:
    return Plans(disk=None if folder is None else ExportCache(folder), scope=f"plan\n{toolchain()}\n")


def _digest(case: Case, inputs: Inputs) -> str:
    """All of the inputs that a state can depend on: x moves buffers, in training, and the gradients move parameters."""
    found = hashlib.sha256()
    given = list((inputs.params | inputs.buffers).items())
    for mode, each in zip(case.steps, inputs.steps, strict=True):
        if mode == "train" and (inputs.buffers or case.optimizer is not None):
            given.append(("x", each.x))
        if mode == "train" and case.optimizer is not None:
            given.append(("grad_output", each.grad_output))
    for name, array in given:
        found.update(b"%s %s %r\n" % (name.encode(), array.dtype.str.encode(), array.shape))
        found.update(array.tobytes())
    return found.hexdigest()


def kept_tensor(name: str, array: Array, given: Array | None = None) -> KeptTensor:
    """A tensor as it is kept: by its name alone where it is the given one."""
    data = array.tobytes()
    if given is not None and (given.dtype, given.shape, given.tobytes()) == (array.dtype, array.shape, data):
        return KeptTensor(name)
    return KeptTensor(name, name_of(array.dtype), array.shape, data)


def arrays_of(kept: tuple[KeptTensor, ...], given: Mapping[str, Array] = MappingProxyType({})) -> dict[str, Array]:
    """The tensors by name; those that were not kept are among the given ones."""
    return {
        each.name: np.frombuffer(each.data, dtype_called(each.dtype)).reshape(each.shape)
        if each.dtype
        else given[each.name]
        for each in kept
    }
