"""The case: one fully spelled out configuration of an op, and what a case file says about it.

These classes are values. They hold no arrays and import neither NumPy nor torch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

import msgspec

Mode = Literal["train", "eval"]
StepWord = Literal["train", "eval", "reset"]  # what the steps of a case file may say
Dtype = Literal["float64", "float32", "bfloat16", "float16", "int64"]
Layout = Literal["contiguous", "channels_last", "channels_last_3d", "transposed", "strided"]
ParamsKind = Literal["random", "default", "some_zero", "negative"]
BuffersKind = Literal["random", "default"]


class Origin(msgspec.Struct, frozen=True):
    """A place in a case file; lines and columns count from 1."""

    file: str
    line: int
    col: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


class Raises(msgspec.Struct, frozen=True):
    """The exception that a case must end in: the class name and a regular expression for its message."""

    type: str
    match: str


class Tolerance(msgspec.Struct, frozen=True, omit_defaults=True):
    """An explicit tolerance that replaces (or, for ``budget``, scales) the allowance of one quantity."""

    rtol: float | None = None
    atol: float | None = None
    ulp: float | None = None
    budget: float | None = None
    origin: str = ""  # "file:line", for the report


class Divergence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A deviation that we know of: whose, since when, why, and how large it may be.

    ``size`` maps a quantity to the range of its error relative to the data, max|error| / max|reference|.
    Below the range the divergence is no longer seen there ("fixed"), above it the case fails.
    ``precision`` names a precision class that the quantities must then meet instead of class A.
    ``reference`` names another definition of the op, such as ONNX's, that the quantities must then meet.
    ``raises`` states that the backend raises here, where the definition has a value.
    """

    id: str
    when: dict[str, Any]
    why: str
    see: str = ""
    size: dict[str, tuple[float, float]] = {}
    precision: Literal["B", "float32"] | None = None
    reference: str = ""  # one of the op's variants
    quantities: tuple[str, ...] = ()  # the quantities that `precision` and `reference` cover; empty: all
    raises: Raises | None = None
    always: bool = True  # False: some of the matching cases agree with the definition by luck of their data
    origin: Origin


class Export(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the case is exported and run as a graph; backends that export nothing do not look at it."""

    dynamic: bool = False  # the graph leaves the sizes of batch and space open, and is exported at other ones
    opset: int | None = None  # version of the ONNX operators; None: what the exporter chooses
    optimisation: Literal["all", "off"] = "all"  # of the graph, by the runtime


class Optimizer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stochastic gradient descent after the backward pass of every train step, as torch.optim.SGD names it."""

    lr: float
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    implementation: Literal["default", "foreach", "fused"] = "default"  # which of torch's own

    @property
    def formula(self) -> dict[str, Any]:
        """The arguments that say what is computed, by torch's names."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if name != "implementation"}

    @property
    def arguments(self) -> dict[str, Any]:
        """What torch.optim.SGD is given."""
        return self.formula | ({} if self.implementation == "default" else {self.implementation: True})


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One configuration of one op.  ``key`` hashes all fields but the descriptive ones (see suite.identity)."""

    id: str
    key: str
    op: str
    args: dict[str, Any]  # every constructor argument, complete
    shape: tuple[int, ...]  # of the input of each step
    dtype: Dtype = "float32"  # of the input
    param_dtype: Dtype = "float32"  # of parameters and buffers
    layout: Layout = "contiguous"  # of the input
    grad_layout: Layout = "contiguous"  # of the upstream gradient
    requires_grad: bool = True  # of the input
    data: str = "normal"  # a name of conformance.suite.data_families
    params: ParamsKind = "random"
    buffers: BuffersKind = "random"
    steps: tuple[Mode, ...] = ("train",)
    resets: tuple[int, ...] = ()  # numbers of the steps (from 0) before which the buffers become those of a new layer
    optimizer: Optimizer | None = None  # None: the parameters stay as they are
    seed: int = 0
    robustness: bool = False  # more than 20 % may be undetermined
    raises: Raises | None = None
    tolerance: dict[str, Tolerance] = {}
    export: Export = Export()
    # descriptive, not part of the key
    about: str = ""
    group: str = ""
    marks: tuple[str, ...] = ()  # "slow"
    divergences: tuple[str, ...] = ()  # ids whose static conditions hold for this case
    origin: Origin


def step_words(steps: Sequence[Mode], resets: Collection[int]) -> list[StepWord]:
    """Steps and resets as a case file writes them, in one list."""
    words: list[StepWord] = []
    for number, mode in enumerate(steps):
        words += ["reset", mode] if number in resets else [mode]
    return words


DESCRIPTIVE = ("id", "key", "about", "group", "marks", "divergences", "origin")
