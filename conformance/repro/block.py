"""Lines of a script, and what they import."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

import numpy as np

from conformance.inputs.make import stored
from conformance.observation import Array

WIDTH = 118


@dataclass(slots=True)
class Block:
    """Lines that are put together by those who write them; ``imports`` are whole import statements."""

    lines: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)

    def add(self, *lines: str) -> None:
        self.lines += lines

    def __add__(self, other: Block) -> Block:
        return Block([*self.lines, *other.lines], self.imports | other.imports)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def numbers(array: Array, dtype: str) -> str | None:
    """The values, flat, in the fewest digits that give the same bits when rounded; None where no decimal does."""
    written = []
    for value in array.reshape(-1):
        text = _shortest(value, dtype)
        if text is None:
            return None
        written.append(text)
    return ", ".join(written)


def _shortest(value: Any, dtype: str) -> str | None:
    number = float(value)
    if not np.isfinite(number):
        return f'float("{number}")'
    for digits in range(1, 18):
        text = f"{number:.{digits}g}"
        if stored(np.array(float(text)), dtype) == value:
            return text if any(each in text for each in ".en") else f"{text}.0"
    return None


def literal(name: str, array: Array, dtype: str) -> list[str] | None:
    """``name = float32([...]).reshape(...)`` on as many lines as it takes; dtype is a function of the script."""
    values = numbers(array, dtype)
    if values is None:
        return None
    tail = "" if array.ndim == 1 else f".reshape({', '.join(map(str, array.shape))})"
    call = f"{dtype}([{values}]){tail}"
    return folded(f"{name} = {call}")


def folded(line: str) -> list[str]:
    """A long line of values within brackets, broken at spaces."""
    if len(line) <= WIDTH:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    return wrap(line, WIDTH, subsequent_indent=indent + "    ", break_long_words=False, break_on_hyphens=False)


def joined(lines: Iterable[str], indent: str = "    ") -> list[str]:
    """The lines one level deeper."""
    return [f"{indent}{line}" if line else line for line in lines]
