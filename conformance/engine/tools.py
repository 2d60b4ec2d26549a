"""The tools of a real run; imported in the process that executes cases, and nowhere else."""

from __future__ import annotations

import numpy as np

from conformance import backends
from conformance.backends.toolchain import version_of
from conformance.diagnose import Searches
from conformance.engine.execute import Tools
from conformance.engine.runtime import applicable
from conformance.inputs import make_inputs
from conformance.inputs.make import stored
from conformance.judge import Expectation, judge
from conformance.observation import Array


def devices() -> dict[str, str]:
    """What a headline must say about this machine's devices."""
    missing = _no_cuda_by_its_version() or backends.load("torch-cuda").available()
    return {"cuda": f"none ({missing})" if missing else "present"}


def _no_cuda_by_its_version() -> str | None:
    """What torch would say if it was built without CUDA, which its version tells; importing torch takes seconds."""
    version = version_of("torch")
    return f"no CUDA device (torch {version})" if version.endswith("+cpu") else None


def rounded(expectation: Expectation) -> tuple[dict[str, Array], ...]:
    """What is expected of each step, by quantity, rounded to the type in which it is stored."""
    with np.errstate(all="ignore"):
        return tuple(
            {name: stored(quantity.value, quantity.stored) for name, quantity in step.quantities.items()}
            for step in expectation.steps()
        )


def standard() -> Tools:
    """Backends by name, inputs, expectation and judge of this package."""
    return Tools(
        load=backends.load,
        make_inputs=make_inputs,
        expect=Expectation,
        applicable=applicable,
        judge=judge,
        devices=devices,
        rounded=rounded,
        suspects=Searches(),
    )
