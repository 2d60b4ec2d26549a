"""What a reference says about one step: values with the error scale that belongs to each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Mode = Literal["train", "eval"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity in the reference dtype.

    value: the exact result as far as the reference can tell, shaped as the backend returns it.
    scale: same shape; the absolute error d(.) that a correct implementation may have before it is rounded on
        store.  inf where nothing is promised.
    stored: name of the format in which the backend stores the quantity; "int64" is compared exactly.
    undetermined: same shape, or None; True where the allowed error swamps the statistics, or where a sum may
        overflow in the compute format.
    any_nonfinite: where the value is NaN, an infinity is as good (running statistics of a slice that holds one).
    """

    value: Array
    scale: Array
    stored: str
    undetermined: Array | None = None
    any_nonfinite: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """All quantities of one step, by the names of the observation, and the state for the next step."""

    quantities: dict[str, Quantity]
    state: dict[str, Quantity]
    n: int = 0  # elements reduced into one statistic
    kappa: float | None = None  # rms(x) / std(x), worst slice
    undetermined_slices: float = 0.0  # fraction


class Reference(Protocol):
    """The judge.  Built as ``Reference(args, dtype, param_dtype, precision)`` with torch's argument names."""

    def initial(self, buffers: Mapping[str, Array]) -> dict[str, Quantity]:
        """The state before the first step; the buffers are exact."""

    def step(
        self, x: Array, grad_output: Array, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode
    ) -> Expected:
        """One forward and backward on exactly these (already rounded) arrays."""


def run(
    reference: Reference,
    inputs: Sequence[tuple[Array, Array]],
    params: Mapping[str, Array],
    buffers: Mapping[str, Array],
    modes: Sequence[Mode],
) -> list[Expected]:
    """Every step of a schedule; buffers and their error scale carry on from step to step."""
    state = reference.initial(buffers)
    results = []
    for (x, grad_output), mode in zip(inputs, modes, strict=True):
        results.append(reference.step(x, grad_output, params, state, mode))
        state = results[-1].state
    return results
