"""The backends: what executes a case and hands back an observation.

Naming a backend costs nothing; only ``load`` imports the framework behind it.  A new backend is one module here and one
line in ``_HOMES``, or a class in another distribution that its entry point in ``conformance.backends`` names.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from conformance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.backends.contract import Backend

GROUP = "conformance.backends"
CANDIDATE = "check:"  # how the names of candidates begin

#: name -> module and the callable in it that makes the backend
_HOMES = {
    "torch-cpu": "conformance.backends.torch_module:torch_cpu",
    "torch-cuda": "conformance.backends.torch_module:torch_cuda",
    "onnx-dynamo": "conformance.backends.onnx_module:onnx_dynamo",
    "onnx-script": "conformance.backends.onnx_module:onnx_script",
    "onnx-step": "conformance.backends.onnx_step:onnx_step",
    "onnx-training": "conformance.backends.onnx_training:onnx_training",
    "onnx-reference": "conformance.backends.onnx_reference:onnx_reference",
}
NAMES: tuple[str, ...] = tuple(_HOMES)

__all__ = ["CANDIDATE", "GROUP", "NAMES", "load", "names"]


def names() -> tuple[str, ...]:
    """The names of all backends: our own, then those that other distributions register, in alphabetical order."""
    return (*NAMES, *sorted(name for name in _foreign() if name not in _HOMES))


def load(name: str) -> Backend:
    """A new backend of this name; ``check:module:Class?like=OP`` is somebody's own layer (see ``candidate``).

    A backend whose framework cannot be imported here is loaded all the same; ``available`` then says what is missing.

    Raises:
        UsageError: no backend has this name.
    """
    if name in _HOMES:
        home, _, maker = _HOMES[name].partition(":")
        try:
            make = getattr(import_module(home), maker)
        except ImportError as error:
            from conformance.backends.unimportable import Unimportable

            return Unimportable(name, str(error))
        return cast("Callable[[], Backend]", make)()
    if name.startswith(CANDIDATE):
        from conformance.backends.candidate.backend import load as load_candidate

        return load_candidate(name)
    foreign = _foreign().get(name)
    if foreign is None:
        close = get_close_matches(name, names(), n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"{name!r} is not a backend{meant}", hint=f"known: {', '.join(names())}")
    return _load_foreign(foreign)


def _foreign() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _load_foreign(point: EntryPoint) -> Backend:
    try:
        made = point.load()()
    except Exception as error:
        raise UsageError(
            f"backend {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
            hint=f"its entry point in {GROUP!r} must name a class or function that takes no arguments",
        ) from error
    wanted = ("name", "observes", "available", "versions", "unsupported", "prepare", "run")
    lacking = [attribute for attribute in wanted if not hasattr(made, attribute)]
    if lacking:
        raise UsageError(
            f"backend {point.name!r} ({point.value}) lacks {', '.join(lacking)}",
            hint="see conformance.backends.contract.Backend for what a backend must have",
        )
    return cast("Backend", made)
