"""What the harness must know about an op before it runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Args = Mapping[str, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Argument:
    """One constructor argument as torch names it.

    ``kinds`` lists what a case file may give: "int", "float", "bool", "null", "ints" (a list of integers), or a
    literal string that the op's ``complete`` understands.
    """

    name: str
    kinds: tuple[str, ...]
    default: Any
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of the way through a network: a call of a layer, or an operation that is no module of its own.

    ``name`` is the dotted name of the module, and ``call`` the number of the call, from 0, where one module is called
    several times.  ``op`` is the name of a layer's op, ``add`` or ``concat`` (along axis 1).  ``inputs`` are the keys
    of the nodes that it takes its input from; ``INPUT`` is the input of the network.
    """

    name: str
    op: str
    args: Args = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    call: int = 0

    @property
    def key(self) -> str:
        return f"{self.name}#{self.call}" if self.call else self.name

    @property
    def title(self) -> str:
        """As figures name it: ``features.3 (BatchNorm2d)``."""
        again = f", call {self.call}" if self.call else ""
        return f"{self.name} ({self.op}{again})"


#: key of what goes into a network
INPUT = ""


def _same_shape(args: Args, shape: Shape) -> Shape:  # noqa: ARG001 - one signature for all ops
    return shape


def _fits(args: Args, shape: Shape) -> str:  # noqa: ARG001 - as above
    return ""


def _none(args: Args) -> tuple[str, ...]:  # noqa: ARG001 - as above
    return ()


@dataclass(frozen=True, slots=True)
class Op:
    """An op.

    ``complete(args, shape)`` fills in arguments that follow from the shape (``num_features: null``).
    ``parameters(args, shape)`` maps parameter names to shapes; ``buffers(args)`` maps buffer names to shapes
    (``num_batches_tracked`` has shape ``()`` and is int64).
    ``facts(args, shape)`` are named numbers for use in ``when``.
    ``variants`` maps the name of another definition of the op, such as ONNX's, to its reference.
    ``module`` names the torch class, "module:Class", where torch.nn has none of the op's name.
    ``misfit(args, shape)`` is what a shape of a rank in ``ranks`` has against the completed arguments, or "".
    ``output_shape(args, shape)`` is the shape of the output; by default that of the input.
    ``nodes(args)`` are the layers that a network is made of, and how they are wired; None for a layer.
    ``frozen(args)`` are the parameters that the op keeps from being trained: they have no gradient.
    ``judged`` says how: against the reference; by its law, where the result is random; module by module, a network.
    """

    name: str
    family: str
    reference: str  # "references.batch_norm:BatchNorm"
    arguments: tuple[Argument, ...]
    ranks: tuple[int, ...]  # ranks of the input that the layer accepts
    complete: Callable[[Args, Shape], dict[str, Any]]
    parameters: Callable[[Args], dict[str, Shape]]
    buffers: Callable[[Args], dict[str, Shape]]
    facts: Callable[[Args, Shape], dict[str, int]]
    keeps_memory_format: tuple[str, ...] = ()  # memory formats that the output keeps when the input has them
    variants: Mapping[str, str] = field(default_factory=dict)
    module: str = ""
    judged: Literal["reference", "law", "network"] = "reference"
    misfit: Callable[[Args, Shape], str] = _fits
    output_shape: Callable[[Args, Shape], Shape] = _same_shape
    nodes: Callable[[Args], tuple[Node, ...]] | None = None
    frozen: Callable[[Args], tuple[str, ...]] = _none
    about: str = ""

    def defaults(self) -> dict[str, Any]:
        """The arguments as the constructor has them when none is given."""
        return {argument.name: argument.default for argument in self.arguments}
