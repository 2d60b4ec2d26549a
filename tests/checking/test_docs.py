"""The examples of docs/check.md are run, and say what they are said to say."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from conformance import CheckFailed
from conformance.backends.candidate.spec import ABOUT
from conformance.checking import session
from conformance.cli.command import invoke

PAGE = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {text.splitlines()[0].removeprefix("# "): text for kind, text in BLOCKS if kind == "python"}
NORM = """
import torch
from torch import nn


class Norm(nn.Module):
    def __init__(self, {signature}):
        super().__init__()
        self.p, self.q = nn.Parameter(torch.rand(6)), nn.Parameter(torch.rand(6))
"""
UNSEEN = {
    "unclear.py": NORM.format(signature="**args"),
    "renamed.py": NORM.format(signature="dim, epsilon=1e-5"),
}


def sessions():
    """Each command of a console block, with what it prints."""
    for kind, text in BLOCKS:
        if kind == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield command, output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files of the page."""
    for name, text in {**FILES, **UNSEEN}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in {**FILES, **UNSEEN}:
        sys.modules.pop(name.removesuffix(".py"), None)


SESSIONS = list(sessions())


@pytest.mark.parametrize(("command", "output"), SESSIONS, ids=[command for command, _ in SESSIONS])
def test_a_command_prints_what_the_page_shows(folder, capfd, command, output):
    arguments = shlex.split(command)[1:]
    invoke([*arguments, "--in-process"])
    said = capfd.readouterr()
    told = re.sub(r"^  in process .*\n", "", said.out or said.err, flags=re.MULTILINE)
    pattern = ".*".join(map(re.escape, output.rstrip().split("...")))
    # what is left out with ... stays on its line
    assert re.fullmatch(pattern, told.rstrip()), told


def test_the_test_of_the_page_fails_as_it_should(folder, monkeypatch):
    monkeypatch.setattr(session, "TOOLS", session.TRIAL_TOOLS)
    fewer = 'keyword="f2-small-n", shrink_seconds=0, in_process=True'
    names = {}
    exec(compile(FILES["test_mine.py"].replace("quick=True", fewer), "test_mine.py", "exec"), names)
    with pytest.raises(CheckFailed, match=r"buffer\.running_var"):
        names["test_my_batch_norm"]()


def test_the_package_of_the_page_is_a_backend(folder):
    names = {}
    exec(compile(FILES["mypackage.py"], "mypackage.py", "exec"), names)
    assert names["backend"]().available() is None


def test_every_kind_is_in_the_table():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert {kind: text.replace("`", "") for kind, text in rows.items()} == dict(ABOUT)


def test_every_option_of_the_page_exists():
    from conformance.cli.check_verb import command

    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    spoken = set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--in-process"}
    assert spoken <= known | {"--backend"}
    assert len(spoken) >= 8
