"""Case files to a suite."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from conformance.errors import UsageError
from conformance.suite import limits
from conformance.suite.checks import Checks
from conformance.suite.divergences import attach, quantity_problems, read_divergences
from conformance.suite.expand import Expansion
from conformance.suite.explain import schema_problems
from conformance.suite.identity import digest_of
from conformance.suite.kept import kept
from conformance.suite.positions import Document, parse
from conformance.suite.problems import CaseFileError, Problem, show
from conformance.suite.schema import CaseFile
from conformance.suite.suite import Suite, gather

SUFFIXES = (".yaml", ".yml")


def shipped_cases() -> Path:
    """The folder of the shipped case files, in a checkout and in an installation.

    Raises:
        UsageError: where neither is to be found.
    """
    package = Path(__file__).resolve().parents[1]
    for place in (package.parent / "cases", package / "cases"):
        if place.is_dir():
            return place
    raise UsageError(
        "the shipped case files are missing", hint=f"looked beside and inside {package}; install the package again"
    )


def load_suite(paths: Sequence[Path] | None = None) -> Suite:
    """The cases of the given files and folders, or those that are shipped.

    Raises:
        CaseFileError: with every problem of every file.
        UsageError: for a path that does not exist.
    """
    return kept(case_files([shipped_cases()] if paths is None else paths), expand_files)


def expand_files(files: Sequence[Path]) -> Suite:
    """The suite of exactly these files."""
    expansions: list[Expansion] = []
    problems: list[Problem] = []
    for file in files:
        try:
            expansions.append(expand_file(file))
        except CaseFileError as error:
            problems.extend(error.problems)
    if problems:
        raise CaseFileError(problems)
    suite, clashes = gather(expansions, tuple(files))
    declared = [read_divergences(expansion) for expansion in expansions]
    suite, unmatched = attach(suite, declared)
    problems = [*clashes, *unmatched, *quantity_problems(expansions)]
    if problems:
        raise CaseFileError(problems)
    return msgspec.structs.replace(suite, digest=digest_of(case.key for case in suite.cases))


def expand_file(file: Path) -> Expansion:
    """The cases of one file.

    Raises:
        CaseFileError: with every problem of the file.
    """
    return expand_text(read(file), shown(file), stem=_printable(file.stem))


def expand_text(text: str, file: str, *, stem: str) -> Expansion:
    """The cases of the text of a file.

    Raises:
        CaseFileError: with every problem of the text.
    """
    document = parse(text, file)
    problems = form_problems(document)
    if problems:
        raise CaseFileError(problems)
    expansion = Expansion(document, stem)
    expansion.run()
    if expansion.problems:
        raise CaseFileError(expansion.problems)
    return expansion


def form_problems(document: Document) -> list[Problem]:
    """What is wrong with a file before it is expanded."""
    problems: list[Problem] = []
    if not isinstance(document.value, dict):
        found = "is empty" if document.value is None else f"holds {show(document.value)}"
        wanted = "expected a mapping with spec: 1, op: NAME, and groups or cases"
        return [document.problem((), f"the file {found}; {wanted}")]
    try:
        msgspec.convert(document.value, CaseFile, strict=True)
    except msgspec.ValidationError as error:
        problems = schema_problems(document, error)
    seen = {(problem.line, problem.col) for problem in problems}
    return problems + [each for each in Checks(document).run() if (each.line, each.col) not in seen]


# ---- files ---------------------------------------------------------------------------------------------------------


def case_files(paths: Sequence[Path]) -> list[Path]:
    """The case files among the paths: files as they are, folders with everything in them, in order of name.

    Raises:
        UsageError: for a path that does not exist, and for folders without a case file.
    """
    files: dict[Path, None] = {}
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{_printable(str(path))}: {_reason(error)}", hint="give a case file or a folder of them"
            ) from None
        found = list(_below(path)) if is_folder else [path]
        if not found:
            raise UsageError(f"{_printable(str(path))} holds no case file", hint="their names end in .yaml")
        files.update(dict.fromkeys(found))
        if len(files) > limits.FILES:
            raise UsageError(f"more than {limits.FILES:,} case files", hint="give fewer of them")
    return list(files)


def _below(folder: Path) -> Iterator[Path]:
    """Every case file below the folder; links to folders are not followed, so no loop can hold us."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in names if name.endswith(SUFFIXES) and not name.startswith(".")]
        if len(found) > limits.FILES:
            break
    yield from sorted(found)


def read(file: Path) -> str:
    """The text of a case file.

    Raises:
        CaseFileError: for what is no file, is too large, or is not UTF-8.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(file, "not a file")
        if status.st_size > limits.FILE_BYTES:
            raise _unreadable(
                file, f"{status.st_size:,} bytes; at most {limits.FILE_BYTES:,} are read, so split the file"
            )
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(file, f"cannot be read: {_reason(error)}") from None
    return decode(data, shown(file))


def decode(data: bytes, file: str) -> str:
    """UTF-8 to text.

    Raises:
        CaseFileError: where the bytes are something else.
    """
    if len(data) > limits.FILE_BYTES:
        raise CaseFileError([Problem(file, 1, 1, "(file)", f"more than {limits.FILE_BYTES:,} bytes; split the file")])
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise CaseFileError([Problem(file, 1, 1, "(file)", "UTF-16 or UTF-32; save the file as UTF-8")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, col = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise CaseFileError([Problem(file, line, col, "(file)", message)]) from None


def shown(file: Path) -> str:
    """The file as messages name it: from the current folder where it lies below that."""
    absolute = Path(os.path.abspath(file))  # noqa: PTH100 - resolve() would follow links
    here = Path.cwd()
    return _printable(str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute))


def _unreadable(file: Path, message: str) -> CaseFileError:
    return CaseFileError([Problem(shown(file), 1, 1, "(file)", message)])


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\n", "\\n").replace("\r", "\\r")


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
