"""The command line, called in this process, on case files whose ``about`` tells fake backends what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance.cli.command import invoke


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path, monkeypatch, capfd) -> Callable[..., Ended]:
    """``call("run", "x.yaml")`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        code = invoke(arguments)
        said = capfd.readouterr()
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def run_fakes(call) -> Callable[..., Ended]:
    """``conformance run`` with fake backends."""
    return lambda *arguments: call("run", *arguments, "--tools", "conformance_fakes:tools")


@pytest.fixture
def case_file(tmp_path) -> Callable[..., Path]:
    """A case file with one case for each ``about``; the cases are called n0, n1, ..."""

    def write(*abouts: str, name: str = "some.yaml") -> Path:
        each = "  - id: n{0}\n    about: '{1}'\n    seed: {0}\n"
        cases = "".join(each.format(number, about) for number, about in enumerate(abouts))
        text = f"spec: 1\nop: LayerNorm\ndefaults:\n  shape: [2, 3]\n  steps: [train]\ncases:\n{cases}"
        file = tmp_path / name
        file.write_text(text)
        return file

    return write
