"""What the engine asks of a backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from conformance.inputs import Inputs
from conformance.observation import Observation
from conformance.suite.case import Case


class Backend(Protocol):
    """Something that executes a case and hands back an observation.  It knows cases and inputs, not verdicts."""

    name: str
    observes: tuple[str, ...]  # prefixes of quantities; () means every quantity of the case

    def available(self) -> str | None:
        """None, or why this backend cannot run here: "no CUDA device"."""

    def versions(self) -> dict[str, str]:
        """Versions of the packages that decide what this backend computes, such as {"torch": "2.13.0+cpu"}."""

    def unsupported(self, case: Case) -> str | None:
        """None, or why this case cannot run here."""

    def prepare(self, cases: Sequence[Case]) -> None:
        """Batch work that pays off for many cases, such as exports."""

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """Execute every step; raises Unsupported with the framework's own words where it cannot."""
