"""A candidate's own names of parameters and buffers, matched with those of the op, and how each match was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod
from typing import Literal

from conformance.errors import UsageError

Shape = tuple[int, ...]
Role = Literal["parameter", "buffer", "attribute"]
#: other names, as they are in use in Keras, ONNX, JAX libraries, papers and tutorials
CALLED: Mapping[str, tuple[str, ...]] = {
    "weight": ("gamma", "scale", "g", "w", "kernel", "alpha", "gain", "weights"),
    "bias": ("beta", "offset", "shift", "b", "biases"),
    "running_mean": (
        "moving_mean", "mean", "running_mu", "mu", "pop_mean", "moving_avg", "running_avg", "run_mean", "ema_mean",
        "rm",
    ),
    "running_var": (
        "moving_var", "moving_variance", "running_variance", "var", "variance", "rv", "pop_var", "sigma2", "run_var",
        "running_sigma2", "ema_var",
    ),
    "num_batches_tracked": (
        "num_batches", "batches_tracked", "batches", "count", "counter", "steps", "step", "n_batches", "num_updates",
        "iteration", "t",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Own:
    """A tensor of the candidate.

    shape: None where it holds no tensor yet.  start: the number that fills it at the start, where one does.
    """

    name: str
    role: Role
    shape: Shape | None
    start: float | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tensor of the op: ``start`` is what its constructor fills it with, where that is one number."""

    name: str
    role: Role
    shape: Shape
    start: float | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """Which tensor of the candidate stands for one of the op's."""

    wanted: Wanted
    own: Own
    how: str

    def __str__(self) -> str:
        note = f"{self.own.role}, so missing from the state_dict" if self.own.role == "attribute" else ""
        shape = ""
        if self.own.shape not in (None, self.wanted.shape):
            shape = "reshaped"
        said = ", ".join(part for part in (self.how if self.own.name != self.wanted.name else "", shape, note) if part)
        return f"{self.wanted.name} = {self.own.name}" + (f" ({said})" if said else "")


STARTS = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


def match(wanted: Sequence[Wanted], own: Sequence[Own], given: Mapping[str, str]) -> tuple[list[Match], list[Wanted]]:
    """The matches, and what has none.

    given: own names to the op's, as a person wrote them; they come first.  Then equal names, names in common use,
    what alone has the shape and role, and what alone starts with the same number.

    Raises:
        UsageError: a given name does not exist or does not fit, or what is left could be matched in two ways.
    """
    matches = [found for name, ours in given.items() if (found := _given(name, ours, wanted, own)) is not None]
    rules: tuple[tuple[str, Callable[[Wanted, Own], bool]], ...] = (
        ("its name", lambda w, o: o.name == w.name),
        ("known name", _known_name),
        ("the only one of its shape and role", lambda w, o: w.role == o.role),
        ("the only one that starts so", lambda w, o: w.role == o.role and w.start is not None and w.start == o.start),
    )
    for how, holds in rules:
        matches += _only(how, holds, wanted, own, matches)
    left = _unmatched(wanted, matches)
    spare = [o for o in own if o not in [m.own for m in matches] and o.role != "attribute"]
    torn = [w for w in left if any(w.role == o.role and fits(w, o) for o in spare)]
    if torn:
        raise _ambiguous(torn, spare, matches)
    return matches, left


def _only(
    how: str, holds: Callable[[Wanted, Own], bool], wanted: Sequence[Wanted], own: Sequence[Own], made: list[Match]
) -> list[Match]:
    """The pairs that a rule joins where neither side could be joined to another."""
    left = _unmatched(wanted, made)
    taken = [m.own for m in made]
    free = [o for o in own if o not in taken]
    pairs = [(w, o) for w in left for o in free if holds(w, o) and fits(w, o)]
    return [
        Match(w, o, how)
        for w, o in pairs
        if sum(other is w for other, _ in pairs) == 1 and sum(other is o for _, other in pairs) == 1
    ]


def _unmatched(wanted: Sequence[Wanted], made: Sequence[Match]) -> list[Wanted]:
    done = {m.wanted.name for m in made}
    return [w for w in wanted if w.name not in done]


def fits(wanted: Wanted, own: Own) -> bool:
    """Whether the values can be put there: equal shapes but for axes of length 1; anything where there is none yet."""
    if own.shape is None:
        return True
    return prod(own.shape) == prod(wanted.shape) and _sizes(own.shape) == _sizes(wanted.shape)


def _sizes(shape: Shape) -> list[int]:
    return [size for size in shape if size != 1]


def _known_name(wanted: Wanted, own: Own) -> bool:
    inner, _, last = wanted.name.rpartition(".")
    home, _, name = own.name.rpartition(".")
    plain = name.lower().strip("_")
    return (not inner or home == inner) and (plain in CALLED.get(last, ()) or plain == last)


def _given(name: str, ours: str, wanted: Sequence[Wanted], own: Sequence[Own]) -> Match | None:
    mine = next((o for o in own if o.name == name), None)
    theirs = next((w for w in wanted if w.name == ours), None)
    if theirs is None:  # with these arguments the op has none of that name
        return None
    if mine is None:
        close = get_close_matches(name, [o.name for o in own], n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(
            f"the mapping {name}={ours} names no tensor of the candidate{meant}",
            hint=f"it has: {', '.join(_told(o) for o in own) or 'none'}",
        )
    if not fits(theirs, mine):
        raise UsageError(
            f"the mapping {name}={ours} does not fit: {name} has shape {list(mine.shape or ())}, "
            f"{ours} has shape {list(theirs.shape)}"
        )
    return Match(theirs, mine, "as given")


def _told(own: Own) -> str:
    shape = "no value yet" if own.shape is None else list(own.shape)
    return f"{own.name} ({own.role}, {shape})"


def _ambiguous(left: Sequence[Wanted], spare: Sequence[Own], made: Sequence[Match]) -> UsageError:
    names = ", ".join(f"{w.name} ({w.role}, {list(w.shape)})" for w in left)
    options = " ".join(f"--map {o.name}={w.name}" for o, w in zip(spare, left, strict=False))
    mapping = ", ".join(f"{o.name!r}: {w.name!r}" for o, w in zip(spare, left, strict=False))
    known = f"; settled already: {'; '.join(map(str, made))}" if made else ""
    return UsageError(
        f"which tensor of the candidate is which is not clear: it has {', '.join(map(_told, spare))} "
        f"for {names}{known}",
        hint=f"say it, such as: {options}\nor in pytest: map={{{mapping}}}",
    )
