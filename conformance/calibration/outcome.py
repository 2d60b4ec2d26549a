"""What one execution says, as plain data that travels between processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["own", "torch", "onnxruntime", "mistake"]


@dataclass(frozen=True, slots=True)
class Worst:
    """The largest share of the allowance that was used, error / allowed, and where; inf for NaN in a number's place."""

    budget: float = 0.0
    quantity: str = ""
    index: int = -1  # of the configuration
    place: str = ""  # op, dtype, data, form

    def __or__(self, other: Worst) -> Worst:
        return self if (self.budget, -self.index) >= (other.budget, -other.index) else other


@dataclass(frozen=True, slots=True)
class Outcome:
    """One implementation on one configuration.

    failed: the judge's word; for torch on bfloat16 and float16 (``narrow``) that of class B, and ``beyond_a`` names the
        quantities that exceed class A.
    visible: wrong by the model-free definition; only asked of mistakes and of what failed.
    close, ulps: whether the two rivals fail it.
    strains: per quantity of the first step (error - rounding on store) / d, which is what the model answers for.
    carried: the largest budget after the first step, of running buffers and of eval steps that use them; None without.
    """

    kind: Kind
    name: str
    index: int
    op: str
    dtype: str
    param_dtype: str
    worst: Worst
    failed: bool
    visible: bool
    close: bool
    ulps: bool
    narrow: bool = False
    beyond_a: tuple[str, ...] = ()
    strains: tuple[tuple[str, float], ...] = ()
    carried: tuple[float, float] | None = None
    said: str = ""  # the figure in one sentence, where it failed
