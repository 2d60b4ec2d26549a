"""YAML text to plain values, with the line and column of every node.

The events of libyaml (or of PyYAML's own parser, where it lacks libyaml) are assembled here, without recursion,
rather than composed: so anchors, tags, depth and size are refused while reading, before they cost anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from conformance.suite import limits
from conformance.suite.case import Origin
from conformance.suite.problems import CaseFileError, Path, Problem, path_text, show
from conformance.suite.scalars import resolve

Mark = tuple[int, int]  # line and column, from 1

_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A case file as plain values; ``values`` and ``keys`` map paths to where the value and its key stand."""

    file: str
    value: Any
    values: dict[Path, Mark]
    keys: dict[Path, Mark]

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Where ``path`` stands, or its nearest ancestor that does."""
        if key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return (1, 1)

    def origin(self, path: Path, *, key: bool = False) -> Origin:
        return Origin(self.file, *self.mark(path, key=key))

    def problem(self, path: Path, message: str, *, key: bool = False, shown: Path | None = None) -> Problem:
        """A problem at ``path``; ``shown`` is the path to print where it differs."""
        return Problem(self.file, *self.mark(path, key=key), path_text(path if shown is None else shown), message)


@dataclass(slots=True)
class _Frame:
    """A collection that is still open."""

    path: Path
    collection: dict[str, Any] | list[Any]
    key: str | None = None


@dataclass(slots=True)
class _Builder:
    file: str
    root: Any = None
    documents: int = 0
    nodes: int = 0
    stack: list[_Frame] = field(default_factory=list)
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def event(self, event: Any) -> None:
        name = type(event).__name__
        if name == "ScalarEvent":
            self._refuse(event)
            self._scalar(event)
        elif name in ("MappingStartEvent", "SequenceStartEvent"):
            self._refuse(event)
            self._open(event, {} if name == "MappingStartEvent" else [])
        elif name in ("MappingEndEvent", "SequenceEndEvent"):
            self.stack.pop()
        elif name == "AliasEvent":
            raise self._stop(event, f"alias *{event.anchor}: anchors and aliases are not allowed; write the value out")
        elif name == "DocumentStartEvent":
            self.documents += 1
            if self.documents > 1:
                raise self._stop(event, "a second document begins; a case file holds one, so split the file")

    def _refuse(self, event: Any) -> None:
        self.nodes += 1
        if self.nodes > limits.NODES:
            raise self._stop(event, f"more than {limits.NODES:,} nodes; split the file")
        if event.anchor is not None:
            raise self._stop(event, f"anchor &{event.anchor}: anchors and aliases are not allowed; write the value out")
        if event.tag is not None:
            raise self._stop(event, f"tag {show(event.tag)}: tags are not allowed; write a plain value")

    def _stop(self, event: Any, message: str) -> CaseFileError:
        here = self.stack[-1].path if self.stack else ()
        problem = Problem(self.file, *_mark(event), path_text(here), message)
        return CaseFileError([*self.problems, problem])

    def _scalar(self, event: Any) -> None:
        frame = self.stack[-1] if self.stack else None
        text: str = event.value
        if frame is not None and isinstance(frame.collection, dict) and frame.key is None:
            self._key(frame, text, _mark(event))
            return
        value: Any = text
        if event.implicit[0]:
            try:
                value = resolve(text)
            except ValueError as error:
                here = () if frame is None else self._next(frame)
                self.problems.append(
                    Problem(self.file, *_mark(event), path_text(here), f"{show(text)}: {error}"),
                )
                value = 0
        self._put(frame, value, _mark(event))

    def _key(self, frame: _Frame, text: str, mark: Mark) -> None:
        """A key is its text, whatever it looks like: ``0.1:`` is the label ``0.1``."""
        path = (*frame.path, text)
        if path in self.keys:
            line, _ = self.keys[path]
            message = f"duplicate key {show(text)}; it stands on line {line} already"
            self.problems.append(Problem(self.file, *mark, path_text(frame.path), message))
        else:
            self.keys[path] = mark
        frame.key = text

    def _open(self, event: Any, collection: dict[str, Any] | list[Any]) -> None:
        frame = self.stack[-1] if self.stack else None
        if len(self.stack) >= limits.DEPTH:
            raise self._stop(event, f"nested more than {limits.DEPTH} deep")
        if frame is not None and isinstance(frame.collection, dict) and frame.key is None:
            raise self._stop(event, "a key must be text, not a list or a mapping; quote it if braces are meant")
        path = self._put(frame, collection, _mark(event))
        self.stack.append(_Frame(path, collection))

    def _next(self, frame: _Frame) -> Path:
        if isinstance(frame.collection, list):
            return (*frame.path, len(frame.collection))
        assert frame.key is not None
        return (*frame.path, frame.key)

    def _put(self, frame: _Frame | None, value: Any, mark: Mark) -> Path:
        path: Path = ()
        if frame is None:
            self.root = value
        else:
            path = self._next(frame)
            if isinstance(frame.collection, list):
                frame.collection.append(value)
            else:
                assert frame.key is not None
                frame.collection[frame.key] = value
                frame.key = None
        self.values[path] = mark
        return path


def _mark(event: Any) -> Mark:
    return event.start_mark.line + 1, event.start_mark.column + 1


def parse(text: str, file: str) -> Document:
    """The document in ``text``.

    Raises:
        CaseFileError: for text that is no single YAML document of plain values.
    """
    _printable(text, file)
    builder = _Builder(file)
    try:
        for event in _events(text):
            builder.event(event)
    except yaml.MarkedYAMLError as error:
        raise CaseFileError([*builder.problems, _syntax(error, text, file)]) from None
    except yaml.YAMLError as error:
        raise CaseFileError(
            [*builder.problems, Problem(file, 1, 1, "(file)", f"not YAML: {show(str(error))}")]
        ) from None
    if builder.problems:
        raise CaseFileError(builder.problems)
    return Document(file, builder.root, builder.values, builder.keys)


def _events(text: str) -> Iterator[Any]:
    return yaml.parse(text, Loader=_LOADER)


def _printable(text: str, file: str) -> None:
    found = _UNPRINTABLE.search(text)
    if found is None:
        return
    before = text[: found.start()]
    line, col = before.count("\n") + 1, found.start() - before.rfind("\n")
    code = ord(found.group())
    what = {0: "a NUL byte", 0xFEFF: "a byte order mark; save the file as UTF-8 without one"}.get(code)
    raise CaseFileError([Problem(file, line, col, "(file)", what or f"a character that YAML forbids, U+{code:04X}")])


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, col = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    if col <= len(here) and here[col - 1] == "\t":
        message = "a tab; indent with spaces"
    else:
        message = "not YAML: " + ", ".join(part for part in (error.context, error.problem) if part)
    return Problem(file, line, col, "(file)", message)
