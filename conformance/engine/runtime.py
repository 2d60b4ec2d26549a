"""What the conditions of a divergence may ask about where a case runs, and which divergences hold there."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata

from conformance.suite.case import Case, Divergence
from conformance.suite.when import holds, of_runtime


def surroundings(backend: str, versions: Mapping[str, str]) -> dict[str, str]:
    """The runtime keys of a ``when``: backend, device, machine, and versions by package."""
    return {"backend": backend, "device": "cuda" if backend.endswith("cuda") else "cpu", **_here(), **versions}


@cache  # the version of NumPy is searched for in the folders of all packages: a sixth of the time of a small case
def _here() -> Mapping[str, str]:
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
    }


def possible(divergences: Mapping[str, Divergence], runtime: Mapping[str, str]) -> dict[str, Divergence]:
    """Those that can hold here, whatever the case: what they ask of the place holds."""
    return {name: each for name, each in divergences.items() if holds(of_runtime(each.when), runtime)}


def applicable(case: Case, divergences: Mapping[str, Divergence], runtime: Mapping[str, str]) -> list[Divergence]:
    """Those that hold for this case, here.  What they ask of the case was asked when the suite was loaded."""
    declared = {name: divergences[name] for name in case.divergences if name in divergences}
    return list(possible(declared, runtime).values())


def foretold(
    case: Case, backend: str, death: str, divergences: Mapping[str, Divergence], versions: Mapping[str, str]
) -> Divergence | None:
    """The divergence that declares that a case dies so, by ``raises: {type: SIGSEGV, match: died}``."""
    for divergence in applicable(case, divergences, surroundings(backend, versions)):
        if divergence.raises is not None and divergence.raises.type == death:
            return divergence
    return None
