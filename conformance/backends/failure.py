"""A failure as a backend may look into it: what it computed, what was expected, and who could have lost it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from conformance.inputs import Inputs
from conformance.observation import Array, Observation
from conformance.suite.case import Case


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that failed.

    step: where it is worst.  expected: what each step should give, by quantity, rounded to the type in which it is
    stored.
    agrees: whether another observation of the case would pass.  folder: where evidence may be kept, if anywhere.
    """

    case: Case
    inputs: Inputs
    observation: Observation
    step: int
    expected: tuple[Mapping[str, Array], ...]
    agrees: Callable[[Observation], bool]
    folder: Path | None


@runtime_checkable
class Investigator(Protocol):
    """A backend that can say more of a failure than that it is one."""

    def investigate(self, failure: Failure) -> str:
        """Lines for the record: who lost the numbers, and where the evidence lies.  Changes no verdict."""
