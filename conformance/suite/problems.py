"""What is wrong with a case file, where, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conformance.errors import ConformanceError

MOST_SHOWN = 200
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a case file; lines and columns count from 1."""

    file: str
    line: int
    col: int
    path: str
    message: str

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


class CaseFileError(ConformanceError):
    """Case files that cannot be used, with every problem that was found in them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__(_table(self.problems))


def _table(problems: Sequence[Problem]) -> str:
    shown = problems[:MOST_SHOWN]
    wide = max((len(problem.where) for problem in shown), default=0)
    deep = max((len(problem.path) for problem in shown), default=0)
    lines = [f"{problem.where:<{wide}}    {problem.path:<{deep}}    {problem.message}" for problem in shown]
    if len(problems) > len(shown):
        lines.append(f"... and {len(problems) - len(shown)} more")
    files = len({problem.file for problem in problems})
    lines.append(f"{count(len(problems), 'error')} in {count(files, 'file')}; no case was run")
    return "\n".join(lines)


def count(number: int, noun: str) -> str:
    """``1 file``, ``2,000 files``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def path_text(path: Path) -> str:
    """``("groups", 0, "vary")`` as ``groups[0].vary``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part.isprintable() and len(part) <= 60 else show(part)
            text += f".{name}" if text else name
    return text or "(file)"


def show(value: object) -> str:
    """A value as text for a message: short, on one line, printable everywhere."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def did_you_mean(found: object, known: Iterable[str]) -> str:
    """``; did you mean 'float32'?`` where a known name is near, or up to three equally near, else nothing."""
    if not isinstance(found, str) or len(found) > 100:
        return ""
    import difflib

    near = difflib.get_close_matches(found, sorted(known), n=3, cutoff=0.6)
    share = [difflib.SequenceMatcher(None, each, found).ratio() for each in near]
    names = [f"'{name}'" for name, ratio in sorted(zip(near, share, strict=True)) if ratio == max(share)]
    return f"; did you mean {' or '.join(names)}?" if names else ""


def unknown(noun: str, found: str, known: Sequence[str]) -> str:
    """``'flaot32' is not a dtype; did you mean 'float32'?``, or the list of what there is."""
    article = "an" if noun[0] in "aeio" else "a"
    hint = did_you_mean(found, known)
    if not hint:
        shown = ", ".join(known[:24]) + (", ..." if len(known) > 24 else "")
        hint = f"; expected one of {shown}" if len(known) > 1 else (f"; expected {shown}" if known else "")
    return f"{show(found)} is not {article} {noun}{hint}"
