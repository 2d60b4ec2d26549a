r"""Judging a whole network from outside, where nothing but its output and its gradients can be seen.

The network is composed of references and evaluated once as it is, and eight times with an error put in after every
operation, of the size that one operation may make by itself.  How far the eight lie from the undisturbed one says what
a correct implementation may return: for each slice of a quantity (a sample of the output and of the input gradient, a
row or channel of a weight, a whole bias or buffer) the allowed error in the 2-norm is eight times the rms distance.

This sees far less than judging module by module (judge.network).  It does not hold for low precision together with
kinks (ReLU, max pooling), where one flipped sign outweighs every rounding, nor with layers that round their
intermediates to the storage format (class B).
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

State = tuple[Mapping[str, Array], Mapping[str, Array]]  # parameters and buffers, by dotted names


@dataclass(frozen=True, slots=True)
class Disturbance:
    """The errors of one imaginary implementation: reproducible, different for every operation and quantity."""

    key: str
    joins: Precision  # of operations that are no layer

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
        error = self.of(quantity, f"{key}:{name}", precision, reference)
        return replace(quantity, value=quantity.value + error)


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


def allowed_norms(name: str, exact: Quantity, draws: Sequence[Array]) -> Array:
    """The error that each slice of a quantity may have, in the 2-norm: (slices,)."""
    slices = _by_slice(name, exact.value)
    spread = np.sqrt(np.mean([_norm(_by_slice(name, draw) - slices) ** 2 for draw in draws], axis=0))
    allowed: Array = FACTOR * spread
    return allowed


def judge_step(name: str, exact: Quantity, got: Array, step: int) -> Figure:
    """The figure of one quantity of a step of ``expected_steps``: that of its worst slice."""
    with np.errstate(all="ignore"):
        return _worst_slice(name, exact, got, step)


def _worst_slice(name: str, exact: Quantity, got: Array, step: int) -> Figure:
    if got.shape != exact.value.shape:
        return _wrong(name, f"shape {list(got.shape)}", f"shape {list(exact.value.shape)}", step)
    if got.dtype != STORAGE[exact.stored]:
        return _wrong(name, f"dtype {got.dtype}", f"dtype {exact.stored}", step)
    if exact.stored == "int64":
        same = bool((got == exact.value).all())
        seen, wanted = str(got), str(exact.value)
        return Figure(quantity=name, step=step, budget=None, got=seen, expected=wanted, ok=same, source="exact")
    slices = _by_slice(name, exact.value)
    allowed = _by_slice(name, exact.scale)[:, 0]  # of every element of a slice the same
    signal = _norm(slices)
    error = _norm(_by_slice(name, got.astype(exact.value.dtype)) - slices)
    promised = np.isfinite(allowed)  # not where a layer is undetermined, or the signal is not finite
    ratio = np.where(promised, np.where(error == 0, 0, error / allowed), 0)
    ratio = np.where(promised & ~np.isfinite(error), np.inf, ratio)
    source = f"Monte Carlo, {DRAWS} draws"
    if not slices.size:
        return Figure(quantity=name, step=step, budget=0.0, source=source)
    where = int(np.argmax(ratio))
    finite = bool(np.isfinite(ratio[where]))
    return Figure(
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
        raise TypeError(f"{type(reference).__name__} has no precision, which says how a layer may round")
    return found


def _wrong(name: str, got: str, expected: str, step: int) -> Figure:
    return Figure(quantity=name, step=step, budget=None, got=got, expected=expected, ok=False, source="structure")
