"""A package's layers as one backend, for its entry point in ``conformance.backends``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata

from conformance.backends.candidate.backend import Candidate
from conformance.backends.candidate.spec import Spec
from conformance.errors import UsageError
from conformance.inputs import Inputs
from conformance.observation import Observation
from conformance.ops import OPS
from conformance.suite.case import Case
from conformance.suite.problems import unknown


class Layers:
    """Candidates by op.  What a package does not have is unsupported, in so many words."""

    def __init__(self, name: str, candidates: Mapping[str, Candidate], distribution: str) -> None:
        self.name = name
        self.observes: tuple[str, ...] = ()
        self._candidates = candidates
        self._distribution = distribution

    def available(self) -> str | None:
        """None, or why one of the layers cannot be used here."""
        told = {op: candidate.available() for op, candidate in self._candidates.items()}
        return next((f"{op}: {why}" for op, why in told.items() if why is not None), None)

    def versions(self) -> dict[str, str]:
        """Those of torch, and of the package where it is installed."""
        found: dict[str, str] = {}
        for candidate in self._candidates.values():
            found |= candidate.versions()
        try:
            return found | {self._distribution: metadata.version(self._distribution)}
        except metadata.PackageNotFoundError:
            return found

    def unsupported(self, case: Case) -> str | None:
        """None, or why this case cannot run."""
        if case.op not in self._candidates:
            return f"{self.name} has no {case.op}"
        return self._candidates[case.op].unsupported(case)

    def prepare(self, cases: Sequence[Case]) -> None:
        """There is nothing to prepare."""

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """Every step of the case on the package's layer."""
        candidate = self._candidates[case.op]
        observation = candidate.run(case, inputs)
        self.observes = candidate.observes  # a layer without a backward shows no gradients
        return observation


def backend_of(
    name: str,
    layers: Mapping[str, str],
    *,
    names: Mapping[str, str] | None = None,
    device: str = "cpu",
    distribution: str = "",
) -> Layers:
    """The backend of a package: op to ``module:attribute`` of the layer that does it, of any kind that check takes.

    names: own names of parameters and buffers to torch's.  distribution: whose version is told; the name by default.

    Raises:
        UsageError: an op is not known.
    """
    for op in layers:
        if op not in OPS:
            raise UsageError(unknown("op", op, tuple(OPS)))
    specs = {op: Spec(target, op, names=dict(names or {}), device=device) for op, target in layers.items()}
    return Layers(name, {op: Candidate(spec) for op, spec in specs.items()}, distribution or name)
