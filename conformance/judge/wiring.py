"""What goes from module to module inside of a network, against how the network is defined to be wired.

A tensor between two modules is the output of the one, bit for bit; where it is a sum (a residual connection) or a
concatenation, that of the outputs that belong together.  On the way back the gradient of a module's output is what the
modules behind it send back, summed where there are several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from conformance.captured import Captured
from conformance.judge.compare import compare
from conformance.observation import Array
from conformance.ops import Node
from conformance.ops.entry import INPUT
from conformance.record import Figure
from references.expected import Expected, Quantity
from references.rounding import FORMATS, Precision

Calls = Mapping[str, Captured]  # by the keys of the nodes


@dataclass(frozen=True, slots=True)
class Sum:
    """Arrays that are added up, in their storage format; None stands for one that the backend does not show."""

    terms: tuple[Array | None, ...]
    words: tuple[str, ...]

    @property
    def complete(self) -> list[Array] | None:
        known = [term for term in self.terms if term is not None]
        return known if len(known) == len(self.terms) else None

    def __str__(self) -> str:
        return self.words[0] if len(self.words) == 1 else f"the sum of {' and '.join(self.words)}"


@dataclass(slots=True)
class Wiring:
    """One step of a network.

    calls: what was captured, by the keys of the nodes.  x, grad_output: what the step was given.
    """

    nodes: Sequence[Node]
    calls: Calls
    x: Array
    grad_output: Array
    precision: Precision
    step: int
    _forward: dict[str, Sum] = field(default_factory=dict)

    def figures(self, arrays: Mapping[str, Array], *, wants_grad_input: bool) -> Iterator[Figure]:
        """Every tensor that should have come from elsewhere; those that are bit for bit right are not told of.

        arrays: what the network returned: ``output`` and ``grad_input``.
        """
        returned = self._returned()
        called = [(node, self.calls[node.key]) for node in self.nodes if node.key in self.calls]
        for node, call in called:
            yield from self._same(f"{node.title} input", self._value(node.inputs[0]), call.x)
        yield from self._same("whole (network) output", self._value(self.nodes[-1].key), arrays.get("output"))
        for node, call in called:
            yield from self._same(f"{node.title} upstream gradient", _total(returned[node.key]), call.grad_output)
        if wants_grad_input:
            yield from self._same("whole (network) grad_input", _total(returned[INPUT]), arrays.get("grad_input"))

    # ---- what should be where ---------------------------------------------------------------------------------------

    def _value(self, key: str) -> Sum:
        """The tensor that a node gives."""
        if key not in self._forward:
            self._forward[key] = self._made(key)
        return self._forward[key]

    def _made(self, key: str) -> Sum:
        if key == INPUT:
            return Sum((self.x,), ("the input of the network",))
        node = next(node for node in self.nodes if node.key == key)
        given = [self._value(source) for source in node.inputs]
        if node.op == "add":
            return _total(given)
        if node.op == "concat":
            parts = [part.complete for part in given]
            whole = None
            if all(part is not None and len(part) == 1 for part in parts):
                whole = np.concatenate([part[0] for part in parts if part], axis=1)
            return Sum((whole,), (f"{' and '.join(map(str, given))} side by side",))
        call = self.calls.get(key)
        return Sum((None if call is None else call.arrays.get("output"),), (f"the output of {node.title}",))

    def _returned(self) -> dict[str, list[Sum]]:
        """What comes back to each node, by key."""
        returned: dict[str, list[Sum]] = defaultdict(list)
        returned[self.nodes[-1].key].append(Sum((self.grad_output,), ("the upstream gradient of the network",)))
        for node in reversed(self.nodes):
            if node.op == "add":
                for key in node.inputs:
                    returned[key] += returned[node.key]
            elif node.op == "concat":
                self._split(node, _total(returned[node.key]), returned)
            else:
                call = self.calls.get(node.key)
                gradient = None if call is None else call.arrays.get("grad_input")
                returned[node.inputs[0]].append(Sum((gradient,), (f"the input gradient of {node.title}",)))
        return returned

    def _split(self, node: Node, gradient: Sum, returned: dict[str, list[Sum]]) -> None:
        start = 0
        for key in node.inputs:
            parts = self._value(key).complete
            width = 0 if parts is None else parts[0].shape[1]
            cut = tuple(
                None if term is None or parts is None else np.ascontiguousarray(term[:, start : start + width])
                for term in gradient.terms
            )
            returned[key].append(Sum(cut, tuple(f"a part of {words}" for words in gradient.words)))
            start += width

    # ---- comparing --------------------------------------------------------------------------------------------------

    def _same(self, name: str, expected: Sum, got: Array | None) -> Iterator[Figure]:
        terms = expected.complete
        if got is None or terms is None or not terms:
            yield self._wrong(name, "nothing" if got is None else self._recognised(got), str(expected))
        elif any(term.shape != got.shape or term.dtype != got.dtype for term in terms):
            yield self._wrong(name, f"{got.dtype.name} of shape {list(got.shape)}", str(expected))
        elif len(terms) == 1:
            if not _alike(terms[0], got):
                yield self._wrong(name, self._recognised(got), f"{expected}, unchanged")
        else:
            wide = [term.astype(self.precision.reference) for term in terms]
            with np.errstate(all="ignore"):
                value, magnitudes = sum(wide[1:], start=wide[0]), sum(map(np.abs, wide[1:]), start=np.abs(wide[0]))
                between = (len(wide) - 2) * FORMATS[got.dtype.name].u  # every sum but the last is stored in between
                scale = (between + self.precision.U) * magnitudes
            quantity = Quantity(value, scale, got.dtype.name)
            yield compare(name, quantity, got, self.step, Expected({}, {}, n=len(wide)), self.precision.label, None)

    def _recognised(self, got: Array) -> str:
        """What a tensor is, that is not what it should be."""
        known = [(node, self.calls[node.key]) for node in self.nodes if node.key in self.calls]
        shown: list[tuple[str, Node, Array | None]] = [
            *(("output", node, call.arrays.get("output")) for node, call in known),
            *(("input", node, call.x) for node, call in known),
            *(("input gradient", node, call.arrays.get("grad_input")) for node, call in known),
            *(("upstream gradient", node, call.grad_output) for node, call in known),
        ]
        for words, node, array in shown:
            if array is not None and array is not got and array.any() and _alike(array, got):
                return f"the {words} of {node.title}"
        return "another tensor"

    def _wrong(self, name: str, got: str, expected: str) -> Figure:
        return Figure(
            quantity=name, step=self.step, budget=None, got=got, expected=expected, ok=False, source="structure"
        )


def _total(sums: Sequence[Sum]) -> Sum:
    return Sum(tuple(term for each in sums for term in each.terms), tuple(word for each in sums for word in each.words))


def _alike(a: Array, b: Array) -> bool:
    """Bit for bit the same, but for the sign of a zero and the payload of a NaN."""
    same = a.dtype == b.dtype and a.shape == b.shape
    return same and bool(((a == b) | (np.isnan(a) & np.isnan(b))).all())
