"""One call of one module inside a network: everything that went in and came out, as the backend itself had it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.observation import Array
from conformance.suite.case import Mode
from references.rounding import Class


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A call of a module (of a node, in a graph).  All arrays are copies, in the dtype in which they were stored.

    name: dotted, as in ``named_modules``.  kind: the name of its class.
    reference: "module:class" as an op's entry names it; empty where we have none.
    args: constructor arguments of the op, complete.
    call: which call of this module it was, from 0.
    x, grad_output: what went in, forward and backward.  params, buffers: before the call.
    arrays: what came out, by the names of the observation (``output``, ``grad_input``, ``grad.weight``,
        ``buffer.running_var`` after the call); the parameter gradients are those of this call alone.
    observes: prefixes of the quantities that the backend can show; empty means all.
    absent: quantities that are rightly missing, and why, such as {"grad_input": "its input needs no gradient"}.
    unjudged: why this call cannot be judged; empty where it can.
    label: the precision class that its definition asks for.
    """

    name: str
    kind: str
    reference: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    mode: Mode = "eval"
    call: int = 0
    x: Array | None = None
    grad_output: Array | None = None
    params: Mapping[str, Array] = field(default_factory=dict)
    buffers: Mapping[str, Array] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    observes: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    unjudged: str = ""
    label: Class = "A"

    def __str__(self) -> str:
        again = f", call {self.call}" if self.call else ""
        return f"{self.name or '(the whole)'} ({self.kind}{again})"
