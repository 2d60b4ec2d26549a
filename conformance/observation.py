"""What a backend hands back: every quantity of every step, or the exception that it raised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from conformance.captured import Captured

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception: its class name, its message, and the step (from 0) in which it came; -1 is construction."""

    type: str
    message: str
    step: int


@dataclass(frozen=True, slots=True)
class StepObservation:
    """The quantities of one step.

    ``arrays`` maps ``output``, ``grad_input``, ``grad.<parameter>`` and ``buffer.<name>`` to arrays in the dtype in
    which the backend stores them (bfloat16 as ml_dtypes.bfloat16) and in logical axis order.
    ``structure`` maps ``dtype``, ``shape``, ``memory_format``, ``input_modified`` and ``state_dict`` to text.
    ``modules`` are the calls of the modules inside a network, and ``nodes`` those of the nodes inside a graph of it.
    """

    arrays: dict[str, Array]
    structure: dict[str, str] = field(default_factory=dict)
    modules: tuple[Captured, ...] = ()
    nodes: tuple[Captured, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """All steps that a backend completed, and the exception that ended them, if one did."""

    steps: tuple[StepObservation, ...]
    raised: Raised | None = None
    seconds: float = 0.0


class Unsupported(Exception):  # noqa: N818 - an outcome that a backend states, not an error
    """Raised by a backend that cannot run a case after all; the message is the framework's own words."""
