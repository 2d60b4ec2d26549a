"""A backend whose framework cannot be imported here."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.inputs import Inputs
from conformance.observation import Observation, Unsupported
from conformance.suite.case import Case


class Unimportable:
    """Stands for a backend of this name and says why it is missing; it runs nothing."""

    observes: tuple[str, ...] = ()

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = f"cannot be imported: {why}"

    def available(self) -> str | None:
        return self._why

    def versions(self) -> dict[str, str]:
        return {}

    def unsupported(self, case: Case) -> str | None:  # noqa: ARG002 - the contract's signature
        return self._why

    def prepare(self, cases: Sequence[Case]) -> None:
        """There is nothing to prepare."""

    def run(self, case: Case, inputs: Inputs) -> Observation:  # noqa: ARG002 - the contract's signature
        raise Unsupported(self._why)
