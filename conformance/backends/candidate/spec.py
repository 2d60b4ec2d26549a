"""The name of a candidate: everything that a process needs to find it and to use it, in one line of text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import parse_qsl, quote, urlencode

from conformance.errors import UsageError

PREFIX = "check:"
#: what ``available`` says first where a person must mend something, rather than find another machine
USAGE = "the candidate cannot be used: "
#: the name in ``structure`` of the first step under which it is told how the candidate was used
TOLD = "candidate"
Kind = Literal["module", "factory", "function", "object", "autograd", "numpy"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ABOUT: Mapping[Kind, str] = {
    "module": "a class of torch.nn.Module with torch's signature",
    "factory": "a callable that takes the constructor arguments and makes a module or an object",
    "function": "a function (x, params, buffers, *, training, **args), or with the names of the op as parameters",
    "object": "a class with forward and, perhaps, backward, on tensors",
    "autograd": "a torch.autograd.Function",
    "numpy": "a function, or a class with forward and, perhaps, backward, on NumPy arrays",
}


@dataclass(frozen=True, slots=True)
class Spec:
    """A candidate.

    target: ``module:attribute`` or ``path/to/file.py:attribute``; ``@NAME`` is one that this process holds.
    like: the op that it is judged as.  kind: how it is used; empty: found out.
    names: its own names of parameters and buffers to those of the op.
    backward: the target of the gradient, where a function on arrays has one.
    forward_only: gradients are not looked at.
    """

    target: str
    like: str
    kind: Kind | Literal[""] = ""
    names: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    backward: str = ""
    forward_only: bool = False

    def __str__(self) -> str:
        said = {"like": self.like, "as": self.kind, "backward": self.backward}
        said["device"] = "" if self.device == "cpu" else self.device
        said["only"] = "forward" if self.forward_only else ""
        pairs = [(name, value) for name, value in said.items() if value]
        pairs += [(f"map.{theirs}", ours) for theirs, ours in sorted(self.names.items())]
        return f"{PREFIX}{quote(self.target, safe='/:@.<>', errors='surrogateescape')}?{urlencode(pairs, safe='/:@.')}"

    @property
    def title(self) -> str:
        """What people call it: the attribute, without its module."""
        return self.target.rpartition(":")[2].removeprefix("@")


def read_spec(text: str) -> Spec:
    """The candidate that such a name means.

    Raises:
        UsageError: the name is not of this form.
    """
    from urllib.parse import unquote_to_bytes

    target, _, query = text.removeprefix(PREFIX).partition("?")
    said = dict(parse_qsl(query, keep_blank_values=True))
    names = {name.removeprefix("map."): said.pop(name) for name in list(said) if name.startswith("map.")}
    known = {"like", "as", "backward", "device", "only"}
    kind = said.get("as", "")
    strange = sorted(set(said) - known)
    if strange or not target or not said.get("like") or (kind and kind not in KINDS):
        found = f"{strange[0]}=" if strange else (f"as={kind}" if kind and kind not in KINDS else "no like=OP")
        raise UsageError(
            f"{text!r} is not the name of a candidate: {found}",
            hint="such as: check:mykernels:BatchNorm2d?like=BatchNorm2d; also as, map.NAME, device, only, backward",
        )
    return Spec(
        target=os.fsdecode(unquote_to_bytes(target)),
        like=said["like"],
        kind=kind,
        names=names,
        device=said.get("device", "cpu"),
        backward=said.get("backward", ""),
        forward_only=said.get("only") == "forward",
    )
