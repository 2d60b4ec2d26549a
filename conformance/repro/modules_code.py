"""How a module is made in a script, and the source of the classes that torch.nn has not."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from conformance.backends.modules import arguments, factory_of
from conformance.backends.networks import mlp
from conformance.suite.case import Case


def construction(case: Case) -> str:
    """The call that makes the module, with the arguments that are not the constructor's defaults."""
    make = factory_of(case.op)
    known = inspect.signature(make).parameters
    given = {
        name: repr(value)
        for name, value in arguments(case, make).items()
        if name not in known or known[name].default is inspect.Parameter.empty or value != known[name].default
    }
    if make is mlp:  # torchvision's class, or ours: a row of layers in either case
        layers = ", ".join(f"nn.{layer!r}" for layer in make(**arguments(case, make)).children())
        return f"nn.Sequential({layers})"
    name = make.__name__ if make.__module__.startswith("conformance") else f"torch.nn.{case.op}"
    text = ", ".join(f"{name}={value}" for name, value in given.items())
    return f"{name}({text})"


def source_of(make: Callable[..., Any]) -> list[str]:
    """The code of a class or function of ours, and of what it uses beside it; without docstrings and annotations."""
    lines: list[str] = []
    for each in () if make is mlp else _needed(make):
        tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        lines += ast.unparse(_Bare().visit(tree)).replace("\n\n", "\n").splitlines()
    return lines


def _needed(make: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """What stands in the same file and is used, before what uses it."""
    home = vars(sys.modules[make.__module__])
    tree = ast.parse(textwrap.dedent(inspect.getsource(make)))
    for name in dict.fromkeys(node.id for node in ast.walk(_Bare().visit(tree)) if isinstance(node, ast.Name)):
        used = home.get(name)
        if used is not None and used is not make and getattr(used, "__module__", "") == make.__module__:
            yield from _needed(used)
    yield make


class _Bare(ast.NodeTransformer):
    """Takes docstrings and annotations away."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._without_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return node if node.value is None else ast.Assign([node.target], node.value, lineno=node.lineno)

    def _without_docstring(self, node: ast.ClassDef | ast.FunctionDef) -> ast.AST:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        return self.generic_visit(node)
