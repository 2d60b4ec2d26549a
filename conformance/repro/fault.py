"""What is to be reproduced: a case on a backend, with what was found there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conformance.backends.contract import Backend
from conformance.inputs import Inputs
from conformance.observation import Raised
from conformance.ops import OPS
from conformance.record import Figure, Record
from conformance.suite.case import Case

#: value: a number is off.  structure: dtype, shape, ... is.  raises: an exception where there is a value.
#: accepts: no exception where there should be one.  dies: the process ends, or does not.
EXPORTED = ("onnx-dynamo", "onnx-reference")
Kind = Literal["value", "structure", "raises", "accepts", "dies"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A failing or known pair.  figure: the worst one, for values and structure; raised: for exceptions."""

    case: Case
    inputs: Inputs
    backend: Backend
    record: Record
    kind: Kind
    figure: Figure | None = None
    raised: Raised | None = None
    why: str = ""  # of a known divergence

    @property
    def last(self) -> int:
        """The step that shows the fault; what comes after it need not run."""
        if self.figure is not None:
            return self.figure.step
        if self.raised is not None:
            return max(self.raised.step, 0)
        return len(self.case.steps) - 1

    @property
    def whole(self) -> bool:
        """Whether it is the fault of a network as a whole, none of whose layers is off by itself."""
        return OPS[self.case.op].nodes is not None and self.figure is not None

    @property
    def quantity(self) -> str:
        return self.figure.quantity if self.figure is not None else ""

    @property
    def stateful(self) -> bool:
        """Whether the fault depends on running statistics that earlier steps moved."""
        torch_draws = OPS[self.case.op].judged == "law" and self.backend.name.startswith("torch")
        if self.case.optimizer is not None or torch_draws:  # runtimes are seeded before each step
            return True  # earlier steps moved the parameters, or the generator of random numbers
        buffers = OPS[self.case.op].buffers(self.case.args)
        if any("." in name for name in buffers):
            return True  # of layers inside, which need not be in the mode of the whole
        tracked = bool(buffers)
        exported = self.backend.name in EXPORTED  # torch 2.13 writes running statistics, whatever the mode
        return tracked and (self.quantity.startswith("buffer.") or self.case.steps[self.last] == "eval" or exported)

    @property
    def history(self) -> tuple[int, ...]:
        """The earlier steps that matter: those in training mode, where there are running statistics."""
        if not self.stateful:
            return ()
        return tuple(step for step in range(self.start, self.last) if self.case.steps[step] == "train")

    @property
    def start(self) -> int:
        """The step before which the buffers were last made new."""
        return max((step for step in self.case.resets if step <= self.last), default=0)

    @property
    def wants_gradient(self) -> bool:
        if self.case.optimizer is not None:
            return True
        return self.quantity.startswith("grad") or (self.figure is None and self.case.requires_grad)

    @property
    def training(self) -> bool:
        return self.case.steps[self.last] == "train"
