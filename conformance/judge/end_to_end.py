r"""Judging a whole network from outside, where nothing but its output and its gradients can be seen.

The network is composed of references and evaluated once as it is, and eight times with an error put in after every
operation, of the size that one operation may make by itself.  How far the eight lie from the undisturbed one says what
a correct implementation may return: for each slice of a quantity (a sample of the output and of the input gradient, a
row or channel of a weight, a whole bias or buffer) the allowed error in the 2-norm is eight times the rms distance.

This sees far less than judging module by module (judge.local): ``power`` says how little.  It does not hold for low
precision together with kinks (ReLU, max pooling), where one flipped sign outweighs every rounding, nor with layers that
round their intermediates to the storage format (class B).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from conformance.inputs import bits
from conformance.observation import Array
from conformance.record import Figure
from references.expected import Expected, Mode, Quantity, Reference
from references.network import Disturb, Network, undisturbed
from references.rounding import FORMATS, STORAGE, Precision

DRAWS = 8
FACTOR = 8.0
#: an allowed error of more than this share of the signal is called blindness
BLIND = 0.5

Link = tuple[Reference, Mapping[str, Array], Mapping[str, Array]]
State = tuple[Mapping[str, Array], Mapping[str, Array]]  # parameters and buffers, by dotted names


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """figures: one per quantity, worst first.  power: allowed error / signal of a whole quantity, in the 2-norm."""

    figures: tuple[Figure, ...]
    power: Mapping[str, float]

    @property
    def ok(self) -> bool:
        return all(figure.ok for figure in self.figures)

    def in_words(self) -> tuple[str, ...]:
        """What this judgement can see of each quantity, one sentence each, the blindest first."""
        return tuple(_words(name, share) for name, share in sorted(self.power.items(), key=lambda item: -item[1]))


def _words(quantity: str, share: float) -> str:
    if not share < BLIND:
        return f"{quantity}: blind, the allowed error is {share:.2g} of the signal"
    return f"{quantity}: an error below {share:.2g} of the signal passes unseen"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """The errors of one imaginary implementation: reproducible, different for every operation and quantity."""

    key: str
    joins: Precision | None = None  # of operations that are no layer

    def of(self, quantity: Quantity, place: str, precision: Precision, reference: Reference | None) -> Array:
        """What is added to one quantity of one operation.

        On outputs and input gradients U(-1, 1) (u |q| + d), where d is the error scale without its factor K, and one
        more draw common to each slice, since an error in a mean or a variance moves all of it.  On parameter gradients
        U(-1, 1) (u |g| + 8 u_c max |g|).
        """
        value, name = quantity.value, place.rsplit(":", 1)[-1]
        stored = FORMATS[quantity.stored]
        rounding = stored.u * np.abs(value) + stored.eta
        own: Array = 2 * bits.uniform(f"{self.key}/{place}", value.shape) - 1
        if name.startswith("grad.") and value.size:
            disturbed: Array = own * (rounding + 8 * precision.compute.u * np.abs(value).max())
            return disturbed
        local = quantity.scale / precision.K
        disturbed = own * (rounding + local)
        geometry = getattr(reference, "fold", None)
        if name in ("output", "grad_input") and geometry is not None:
            fold = geometry(value.shape)
            common = 2 * bits.uniform(f"{self.key}/{place}/common", (fold.slices, 1)) - 1
            disturbed = disturbed + fold.unfold(common) * local
        return disturbed

    def put_in(self, key: str, name: str, quantity: Quantity, reference: Reference | None) -> Quantity:
        """A quantity of one operation with an error in it; a join has no reference."""
        if quantity.stored == "int64" or not quantity.value.size:
            return quantity
        precision = self.joins if reference is None else _precision(reference)
        assert precision is not None
        error = self.of(quantity, f"{key}:{name}", precision, reference)
        return replace(quantity, value=quantity.value + error)


class Chain:
    """Layers one after another, as in torch.nn.Sequential.

    links: (reference, parameters, buffers) of each layer; the buffers as they are before the step, taken as exact.
    """

    def __init__(self, links: Sequence[Link]) -> None:
        self.links = tuple(links)

    def evaluate(
        self, x: Array, grad_output: Array, mode: Mode, disturbance: Disturbance | None = None
    ) -> dict[str, Quantity]:
        """One forward and backward: ``output``, ``grad_input``, ``grad.0.weight``, ``buffer.0.running_mean``, ...

        Parameters and buffers are named by the place of their layer.  x, grad_output: of the first layer's input
        shape and the last layer's output shape.
        """
        with np.errstate(all="ignore"):
            return self._evaluate(x, grad_output, mode, disturbance)

    def _evaluate(self, x: Array, gy: Array, mode: Mode, disturbance: Disturbance | None) -> dict[str, Quantity]:
        def disturbed(expected: Expected, name: str, place: int, reference: Reference) -> Quantity:
            quantity = expected.quantities[name]
            if disturbance is None or quantity.stored == "int64":
                return quantity
            error = disturbance.of(quantity, f"{place}:{name}", _precision(reference), reference)
            return Quantity(quantity.value + error, quantity.scale, quantity.stored)

        found: dict[str, Quantity] = {}
        inputs = [x]
        for place, (reference, params, buffers) in enumerate(self.links):
            # the gradient is not known yet; any will do, since only the forward half is used
            forward = reference.step(inputs[-1], inputs[-1], params, reference.initial(buffers), mode)
            output = disturbed(forward, "output", place, reference)
            inputs.append(output.value)
            found["output"] = output
            for name in forward.quantities:
                if name.startswith("buffer."):
                    buffer = disturbed(forward, name, place, reference)
                    found[f"buffer.{place}.{name.removeprefix('buffer.')}"] = buffer
        for place, (reference, params, buffers) in reversed(list(enumerate(self.links))):
            backward = reference.step(inputs[place], gy, params, reference.initial(buffers), mode)
            for name in backward.quantities:
                if name.startswith("grad."):
                    gradient = disturbed(backward, name, place, reference)
                    found[f"grad.{place}.{name.removeprefix('grad.')}"] = gradient
            found["grad_input"] = disturbed(backward, "grad_input", place, reference)
            gy = found["grad_input"].value
        return found


def expected_steps(
    network: Network, steps: Sequence[tuple[Array, Array]], modes: Sequence[Mode], state: State, key: str
) -> list[Expected]:
    """Every step of a network, with its buffers carried on from step to step, by the definition and in eight draws.

    steps: (x, grad_output) of each.  state: its parameters, and its buffers before the first step.
    The scale of a quantity is here the error that the slice of an element may have in the 2-norm.
    """
    exact = _schedule(network, steps, modes, state, undisturbed)
    draws = [
        _schedule(network, steps, modes, state, Disturbance(f"{key}/end-to-end/{draw}", network.precision).put_in)
        for draw in range(DRAWS)
    ]
    return [_with_norms(step, [draw[number] for draw in draws]) for number, step in enumerate(exact)]


def _schedule(
    network: Network, steps: Sequence[tuple[Array, Array]], modes: Sequence[Mode], state: State, disturb: Disturb
) -> list[Expected]:
    params, buffers = state
    now = network.initial(buffers)
    found = []
    for number, ((x, grad_output), mode) in enumerate(zip(steps, modes, strict=True)):

        def at_step(
            key: str, name: str, quantity: Quantity, reference: Reference | None, step: int = number
        ) -> Quantity:
            return disturb(f"{step}/{key}", name, quantity, reference)

        found.append(network.evaluate(x, grad_output, params, now, mode, at_step))
        now = found[-1].state
    return found


def _with_norms(exact: Expected, draws: Sequence[Expected]) -> Expected:
    def widened(name: str, quantity: Quantity) -> Quantity:
        if quantity.stored == "int64":
            return quantity
        with np.errstate(all="ignore"):
            allowed = allowed_norms(name, quantity, [draw.quantities[name].value for draw in draws])
        rows = _by_slice(name, quantity.value)
        scale = np.broadcast_to(allowed[:, None], rows.shape).reshape(quantity.value.shape)
        return replace(quantity, scale=scale)

    return replace(exact, quantities={name: widened(name, q) for name, q in exact.quantities.items()})


def judge_step(name: str, quantity: Quantity, got: Array, step: int) -> Figure:
    """The figure of one quantity of a step of ``expected_steps``."""
    rows = _by_slice(name, quantity.scale)
    allowed = rows[:, 0] if rows.size else np.zeros(len(rows))
    with np.errstate(all="ignore"):
        return judge_slices(name, quantity, allowed, got, step)[0]


def judge_end_to_end(
    chain: Chain, x: Array, grad_output: Array, mode: Mode, *, got: Mapping[str, Array], key: str
) -> EndToEnd:
    """The judgement of one step of an opaque implementation of a chain.

    got: by the names of Chain.evaluate; what the implementation does not show is left out of the judgement.
    key: names the draws, such as the key of a case; the same key gives the same allowance.
    """
    exact = chain.evaluate(x, grad_output, mode)
    draws = [chain.evaluate(x, grad_output, mode, Disturbance(f"{key}/end-to-end/{draw}")) for draw in range(DRAWS)]
    figures, power = [], {}
    for name, quantity in exact.items():
        if name not in got:
            continue
        with np.errstate(all="ignore"):
            figure, share = _figure(name, quantity, [draw[name].value for draw in draws], np.asarray(got[name]))
        figures.append(figure)
        if share is not None:
            power[name] = share
    return EndToEnd(tuple(sorted(figures, key=_badness, reverse=True)), power)


def _figure(name: str, exact: Quantity, draws: list[Array], got: Array) -> tuple[Figure, float | None]:
    """The worst slice of one quantity, and the share of its signal that may be wrong unseen."""
    return judge_slices(name, exact, allowed_norms(name, exact, draws), got)


def allowed_norms(name: str, exact: Quantity, draws: Sequence[Array]) -> Array:
    """The error that each slice of a quantity may have, in the 2-norm: (slices,)."""
    slices = _by_slice(name, exact.value)
    spread = np.sqrt(np.mean([_norm(_by_slice(name, draw) - slices) ** 2 for draw in draws], axis=0))
    allowed: Array = FACTOR * spread
    return allowed


def judge_slices(name: str, exact: Quantity, allowed: Array, got: Array, step: int = 0) -> tuple[Figure, float | None]:
    """The worst slice of one quantity, and the share of its signal that may be wrong unseen.

    allowed: (slices,), as ``allowed_norms`` gives it.
    """
    if got.shape != exact.value.shape:
        return _wrong(name, f"shape {list(got.shape)}", f"shape {list(exact.value.shape)}", step), None
    if got.dtype != STORAGE[exact.stored]:
        return _wrong(name, f"dtype {got.dtype}", f"dtype {exact.stored}", step), None
    if exact.stored == "int64":
        same = bool((got == exact.value).all())
        seen, wanted = str(got), str(exact.value)
        return Figure(quantity=name, step=step, budget=None, got=seen, expected=wanted, ok=same, source="exact"), None
    slices = _by_slice(name, exact.value)
    signal = _norm(slices)
    error = _norm(_by_slice(name, got.astype(exact.value.dtype)) - slices)
    promised = np.isfinite(allowed)  # not where a layer is undetermined, or the signal is not finite
    ratio = np.where(promised, np.where(error == 0, 0, error / allowed), 0)
    ratio = np.where(promised & ~np.isfinite(error), np.inf, ratio)
    source = f"Monte Carlo, {DRAWS} draws"
    if not slices.size:
        return Figure(quantity=name, step=step, budget=0.0, source=source), None
    where = int(np.argmax(ratio))
    finite = bool(np.isfinite(ratio[where]))
    figure = Figure(
        quantity=name,
        step=step,
        budget=float(ratio[where]) if finite else None,
        error=float(error[where]) if finite else None,
        allowed=float(allowed[where]) if promised[where] else None,
        got=f"an error of {float(error[where]):.3g} in the 2-norm",
        expected=f"at most {float(allowed[where]):.3g}, beside a signal of {float(signal[where]):.3g}",
        index=(where,),
        exceeding=int((ratio > 1).sum()),
        size=len(ratio),
        relative=float(error[where] / signal[where]) if finite and signal[where] else None,
        undetermined=float(1 - promised.mean()),
        source=source,
        ok=bool(ratio[where] <= 1),
    )
    beside = float(_norm(signal[None, :])[0])
    share = float(_norm(allowed[None, :])[0]) / beside if promised.all() and beside else float("inf")
    return figure, share


def _by_slice(name: str, value: Array) -> Array:
    """(slices, elements): one slice for each sample, for each row or channel of a weight; one for a bias or buffer."""
    whole = name.startswith("buffer.") or name.endswith(".bias") or not value.ndim
    if not value.size:
        return value.reshape(0, 1)
    rows: Array = value.reshape(1 if whole else value.shape[0], -1)
    return rows


def _norm(rows: Array) -> Array:
    """The 2-norm of each row, without overflow on the way."""
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1)
    norm: Array = (scale * np.sqrt(((rows / scale) ** 2).sum(axis=1, keepdims=True)))[:, 0]
    return norm


def _precision(reference: Reference) -> Precision:
    found: Any = getattr(reference, "precision", None)
    if not isinstance(found, Precision):
        raise TypeError(f"{type(reference).__name__} has no precision; a chain needs to know how each layer may round")
    return found


def _wrong(name: str, got: str, expected: str, step: int) -> Figure:
    return Figure(quantity=name, step=step, budget=None, got=got, expected=expected, ok=False, source="structure")


def _badness(figure: Figure) -> tuple[bool, float]:
    return not figure.ok, float("inf") if figure.budget is None and not figure.ok else figure.budget or 0.0
