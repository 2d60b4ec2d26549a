"""Which kind of candidate an object is, by looking at it: nothing is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any, Literal

import torch

from conformance.backends.candidate.spec import ABOUT, Kind
from conformance.errors import UsageError

Library = Literal["torch", "numpy"]
INPUTS = ("x", "input", "inputs", "X", "xs", "data", "tensor", "hidden_states", "inp", "batch", "images", "features")


@dataclass(frozen=True, slots=True)
class Nature:
    """What a candidate is: its kind, what it is fed with, and how that was seen."""

    kind: Kind
    library: Library
    why: str


def nature_of(candidate: Any, asked: Kind | Literal[""], arguments: Sequence[str]) -> Nature:
    """The nature of a candidate; ``arguments`` are those of the op's constructor.

    Raises:
        UsageError: it is none of the kinds, or it could be two.
    """
    _refuse_instances(candidate)
    kind, why = (asked, "as asked") if asked else _kind(candidate, arguments)
    if kind == "numpy":
        is_function = not isinstance(candidate, type) and not _makes(candidate, arguments)
        return Nature("function" if is_function else "object", "numpy", why)
    if kind in ("module", "autograd"):
        return Nature(kind, "torch", why)
    library, how = library_of(candidate)
    return Nature(kind, library, f"{why}{how}")


def _refuse_instances(candidate: Any) -> None:
    if isinstance(candidate, torch.nn.Module):
        raise UsageError(
            f"an instance of {type(candidate).__name__} was given; each case makes its own, with other arguments",
            hint=f"give the class, {type(candidate).__name__}, or a function that makes one from the arguments",
        )
    if isinstance(candidate, ModuleType):
        raise UsageError(f"{candidate.__name__} is a module, not a layer", hint="name what is in it: module:Class")
    if not callable(candidate):
        raise UsageError(
            f"{type(candidate).__name__} cannot be called: it is neither a class nor a function",
            hint="a candidate is " + "; ".join(ABOUT.values()),
        )


def _kind(candidate: Any, arguments: Sequence[str]) -> tuple[Kind, str]:
    if isinstance(candidate, type):
        if issubclass(candidate, torch.nn.Module):
            return "module", "a subclass of torch.nn.Module"
        if issubclass(candidate, torch.autograd.Function):
            return "autograd", "a subclass of torch.autograd.Function"
        if callable(getattr(candidate, "forward", None)) or "__call__" in vars(candidate):
            return "object", "a class with forward" + (" and backward" if hasattr(candidate, "backward") else "")
        raise UsageError(
            f"the class {candidate.__name__} has no forward and is no torch.nn.Module",
            hint="a candidate is " + "; ".join(ABOUT.values()),
        )
    if _makes(candidate, arguments):
        return "factory", "called with the arguments of the constructor"
    return "function", "called with the input"


def _makes(candidate: Any, arguments: Sequence[str]) -> bool:
    """Whether a callable makes layers, rather than being one.

    Raises:
        UsageError: its parameters do not say.
    """
    parameters = signature_of(candidate)
    if parameters is None:
        title = _title(candidate)
        raise UsageError(
            f"what {title} takes cannot be read, so neither can be told whether it is a layer or makes one",
            hint="write a function of your own around it: def f(x, params, buffers, *, training, **args): "
            f"return {title}(x)",
        )
    names = [parameter.name for parameter in parameters]
    if not names or parameters[0].kind is inspect.Parameter.VAR_KEYWORD or names[0] in arguments:
        return True
    if names[0] in INPUTS or {"params", "training"} & set(names):
        return False
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if not required:
        return True
    raise UsageError(
        f"{_title(candidate)}({', '.join(names)}) could be a factory, which makes a layer, or a function, which is one",
        hint="say which: --as factory, or --as function",
    )


def signature_of(callable_: Any) -> list[inspect.Parameter] | None:
    """The parameters of a callable (of a constructor, without self), or None where nothing can be known."""
    constructor: Any = callable_.__init__ if isinstance(callable_, type) else None  # type: ignore[misc]  # not called
    if constructor in (torch.nn.Module.__init__, object.__init__):
        return []
    try:
        return list(inspect.signature(callable_).parameters.values())
    except (TypeError, ValueError):
        return None


def _title(candidate: Any) -> str:
    return str(getattr(candidate, "__name__", type(candidate).__name__))


# ---- tensors or arrays -----------------------------------------------------------------------------------------------


def library_of(candidate: Any) -> tuple[Library, str]:
    """Whether code is written for tensors or for NumPy arrays, by the modules that it names; tensors where both are."""
    named = set(_modules_named(candidate)) | {type(candidate).__module__.partition(".")[0]}
    if "numpy" in named and "torch" not in named:
        return "numpy", ", on NumPy arrays (its code names numpy and not torch)"
    return "torch", ""


def _modules_named(candidate: Any) -> Iterator[str]:
    """The modules that code names, and those that the functions beside it name, which it calls."""
    waiting, seen = list(_functions(candidate)), set[int]()
    while waiting:
        function = waiting.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        names = {name for code in _codes(function.__code__) for name in code.co_names}
        beside = (function.__globals__.get(name) for name in names)
        waiting += [f for f in beside if isinstance(f, FunctionType) and f.__module__ == function.__module__]
        if "astype" in names:  # tensors have no such method
            yield "numpy"
        for name in names:
            value = function.__globals__.get(name)
            if isinstance(value, ModuleType):
                yield value.__name__.partition(".")[0]
            elif value is not None:
                yield str(getattr(value, "__module__", "") or "").partition(".")[0]
        for annotation in function.__annotations__.values():
            text = annotation if isinstance(annotation, str) else getattr(annotation, "__module__", "")
            yield from (library for library in ("torch", "numpy") if library in str(text))
            if isinstance(annotation, str) and "np." in annotation:
                yield "numpy"


def _functions(candidate: Any) -> Iterator[FunctionType]:
    candidate = getattr(candidate, "func", candidate)  # functools.partial
    if isinstance(candidate, type):
        for kind in candidate.__mro__[:-1]:
            for member in vars(kind).values():
                inner: Callable[..., Any] = getattr(member, "__func__", member)
                if isinstance(inner, FunctionType):
                    yield inner
        return
    plain = inspect.unwrap(candidate if isinstance(candidate, FunctionType) else type(candidate).__call__)
    if isinstance(plain, FunctionType):
        yield plain


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
