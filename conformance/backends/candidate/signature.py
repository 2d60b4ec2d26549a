"""The arguments of a constructor or function against those of the op; where they do not fit, the adapter to write."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from conformance.backends.candidate.kinds import signature_of
from conformance.backends.candidate.resolve import LOADED
from conformance.errors import UsageError
from conformance.observation import Unsupported
from conformance.ops import OPS, Argument
from conformance.suite.case import Case

#: what people call an argument of torch, and what to write for it; the meaning decides, not the place
CALLED: Mapping[str, tuple[str, ...]] = {
    "num_features": (
        "num_channels",
        "channels",
        "n_channels",
        "c",
        "dim",
        "features",
        "n_features",
        "in_channels",
        "ch",
    ),
    "num_channels": ("channels", "n_channels", "num_features", "c", "dim", "in_channels", "ch", "features"),
    "normalized_shape": ("dim", "shape", "hidden_size", "features", "d_model", "normalized_dim", "size", "n", "d"),
    "num_groups": ("groups", "g", "n_groups"),
    "eps": ("epsilon", "variance_epsilon", "layer_norm_eps", "rms_norm_eps", "norm_eps"),
    "momentum": ("decay", "rho", "momentum_", "m"),
    "affine": ("learnable", "use_affine", "scale_and_shift", "elementwise_affine", "with_affine"),
    "elementwise_affine": ("affine", "use_affine", "learnable"),
    "track_running_stats": ("track", "running", "use_running_stats", "track_stats"),
    "bias": ("use_bias", "with_bias", "has_bias", "center"),
    "in_features": ("input_dim", "n_in", "in_dim", "fan_in", "input_size", "d_in"),
    "out_features": ("output_dim", "n_out", "out_dim", "fan_out", "output_size", "d_out", "units"),
    "in_channels": ("c_in", "cin", "channels_in", "n_in", "in_ch"),
    "out_channels": ("c_out", "cout", "channels_out", "n_out", "out_ch", "filters"),
    "kernel_size": ("kernel", "k", "ksize", "window", "pool_size"),
    "stride": ("strides", "s"),
    "padding": ("pad",),
    "dilation": ("dilations", "rate"),
    "p": ("drop", "dropout", "prob", "rate", "drop_prob"),
    "size": ("n", "window", "depth_radius", "local_size"),
}
_AFFINE = ("affine", "elementwise_affine")
_KEPT_SHARE = ("decay", "rho")  # the share of the old value that stays: one minus torch's momentum


def arguments_for(accepts: Any, args: Mapping[str, Any], case: Case, besides: Sequence[str] = ()) -> dict[str, Any]:
    """The case's arguments that a callable takes.

    One that it does not take is dropped where it has the op's default, for then nothing is lost.
    ``besides``: parameters of the callable that are no arguments of the op.

    Raises:
        Unsupported: it does not take an argument that matters.
        UsageError: it requires one that the op does not have.
    """
    parameters = signature_of(accepts)
    if parameters is None or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(args)
    check_signature(accepts, case.op, besides)
    taken = {parameter.name for parameter in parameters}
    defaults = OPS[case.op].complete(OPS[case.op].defaults(), case.shape)
    kept = {}
    for name, value in args.items():
        if name in taken:
            kept[name] = value
        elif name not in defaults or value != defaults[name]:
            raise Unsupported(f"takes no argument {name!r}, and the case needs {name}={value!r}")
    return kept


def check_signature(accepts: Any, op: str, besides: Sequence[str] = ()) -> None:
    """That everything that a callable requires is known to the op.

    Raises:
        UsageError: with the adapter to write.
    """
    parameters = signature_of(accepts) or []
    ours = [argument.name for argument in OPS[op].arguments]
    strange = [
        parameter
        for parameter in parameters
        if parameter.name not in ours
        and parameter.name not in besides
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    renamed = [p for p in parameters if p.name not in ours and p.name not in besides and _stands_for(p.name, op)]
    lost = [p for p in renamed if _stands_for(p.name, op) not in {other.name for other in parameters}]
    if not strange and not lost:
        return
    title = str(getattr(accepts, "__name__", accepts))
    wrong = ", ".join(repr(p.name) for p in (strange or lost))
    verb = "requires" if strange else "takes"
    raise UsageError(
        f"{title} {verb} {wrong}, which torch's {op} does not call so: "
        f"{title}{_shown(parameters)}, and {op} has {op}({', '.join(ours)})",
        hint=f"write an adapter, and check that instead:\n\n{adapter(accepts, op, besides)}",
    )


def check_affine(accepts: Any, case: Case) -> None:
    """That what makes layers without parameters takes the argument by which the op has none.

    Raises:
        UsageError: it does not, and the case has parameters; with the adapter to write.
    """
    switch = next((a.name for a in OPS[case.op].arguments if a.name in _AFFINE), "")
    taken = signature_of(accepts)
    if not switch or not case.args[switch] or taken is None:
        return
    if any(parameter.name == switch or parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
        return
    title = str(getattr(accepts, "__name__", accepts))
    raise UsageError(
        f"{title} has no parameters, and {case.op} has {', '.join(OPS[case.op].parameters(case.args))} unless "
        f"{switch}=False",
        hint=f"write an adapter, and check that instead:\n\n{adapter(accepts, case.op, without=switch)}",
    )


def adapter(accepts: Any, op: str, besides: Sequence[str] = (), *, without: str = "") -> str:
    """Python code that maps the op's arguments onto those of a callable, as far as their names tell.

    ``without``: an argument that the callable has only as False.
    """
    title = str(getattr(accepts, "__name__", "Layer"))
    home = str(getattr(accepts, "__module__", "mymodule"))
    home = LOADED.get(home, home)
    arguments = OPS[op].arguments
    ours = {argument.name for argument in arguments}
    lines, used = [], set()
    for parameter in signature_of(accepts) or []:
        if parameter.name in besides or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        own = parameter.name if parameter.name in ours else _stands_for(parameter.name, op)
        before = "" if parameter.kind is parameter.POSITIONAL_ONLY else f"{parameter.name}="
        if own:
            used.add(own)
            value = f"1 - {own}" if parameter.name.lower() in _KEPT_SHARE and own == "momentum" else own
            why = "  # the share of the old value that stays; torch's momentum weighs the new one" * (value != own)
            lines.append(f"        {before}{value},{why}")
        elif parameter.default is parameter.empty:
            lines.append(f"        {before}...,  # which argument of {op}, or which number, is {parameter.name!r}?")
    guards = [
        f"    if {name if name == without else _differs(name, default)}:\n"
        f'        raise NotImplementedError("{title} has no {name}")'
        for name, default in ((argument.name, _default(argument)) for argument in arguments)
        if name not in used and default is not ... and not (without and name == "bias")
    ]
    signature = ", ".join(_parameter(argument.name, _default(argument)) for argument in arguments)
    signature = f"*, {signature}" if signature else ""
    body = "\n".join([*guards, f"    return {title}(", *lines, "    )"])
    return (
        f"# adapter.py\nfrom {home} import {title}\n\n\ndef adapter({signature}):\n{body}\n\n"
        f"# conformance check adapter.py:adapter --like {op}\n"
    )


def _differs(name: str, default: Any) -> str:
    if isinstance(default, bool):
        return f"not {name}" if default else name
    return f"{name} is not None" if default is None else f"{name} != {default!r}"


def _default(argument: Argument) -> Any:
    """The default as torch has it; ... for a required argument, which a case file derives from the shape."""
    derived = argument.default is None and "float" not in argument.kinds
    return ... if derived or isinstance(argument.default, dict | str) else argument.default


def _parameter(name: str, default: Any) -> str:
    return name if default is ... else f"{name}={default!r}"


def _stands_for(name: str, op: str) -> str:
    """The argument of the op that people also call so, where it is but one."""
    plain = name.lower().strip("_")
    arguments = [argument.name for argument in OPS[op].arguments]
    found = [ours for ours in arguments if plain in CALLED.get(ours, ()) or plain == ours.lower()]
    return found[0] if len(found) == 1 else ""


def _shown(parameters: Sequence[inspect.Parameter]) -> str:
    return f"({', '.join(str(parameter.replace(annotation=parameter.empty)) for parameter in parameters)})"
