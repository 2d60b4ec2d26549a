"""Finding candidates, and saying why they cannot be found."""

from __future__ import annotations

import sys

import pytest

from conformance.backends.candidate.resolve import HELD, resolve
from conformance.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with kernels of somebody's, in which the command is called."""
    (tmp_path / "their_kernels.py").write_text(
        "import their_constants\n\nclass Norm:\n    class Inner:\n        pass\n"
    )
    (tmp_path / "their_constants.py").write_text("EPS = 1\n")
    (tmp_path / "broken_kernels.py").write_text("x = 1\nraise RuntimeError('no GPU\\nsecond line')\n")
    (tmp_path / "leaving_kernels.py").write_text("raise SystemExit(7)\n")
    (tmp_path / "misspelt_kernels.py").write_text("def f(:\n")
    (tmp_path / "needy_kernels.py").write_text("import no_such_package_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if "their_" in name or "kernels" in name:
            del sys.modules[name]


def test_a_module_in_this_folder_is_found_by_its_name(folder):
    assert resolve("their_kernels:Norm").__name__ == "Norm"
    assert resolve("their_kernels:Norm.Inner").__name__ == "Inner"


def test_a_file_may_have_a_name_that_is_not_unicode(folder):
    odd = folder / "\udce4.py"
    odd.write_text("class Norm: pass\n")
    assert resolve(f"{odd}:Norm").__name__ == "Norm"


def test_a_file_is_found_by_its_path_with_what_lies_beside_it(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    found = resolve(f"{folder.name}/their_kernels.py:Norm")
    assert found.__name__ == "Norm"
    assert resolve(f"{folder.name}/their_kernels.py:Norm") is found  # one file is one module


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("thier_kernels:Norm", "there is no module 'thier_kernels'; did you mean 'their_kernels'"),
        ("their_kernels:Nrom", "their_kernels has no 'Nrom'; did you mean 'Norm'"),
        ("their_kernels:Norm.Iner", "their_kernels.Norm has no 'Iner'; did you mean 'Inner'"),
        ("their_kernel.py:Norm", "there is no file their_kernel.py; did you mean 'their_kernels.py'"),
        ("their_kernels", "'their_kernels' names no candidate\nwrite module:Class"),
        (
            "broken_kernels:f",
            "broken_kernels cannot be imported: RuntimeError: no GPU\nraised at .*broken_kernels.py:2",
        ),
        ("broken_kernels.py:f", "broken_kernels.py cannot be imported: RuntimeError: no GPU\nraised at"),
        ("leaving_kernels:f", "leaving_kernels cannot be imported: SystemExit: 7\nraised at .*leaving_kernels.py:1"),
        ("leaving_kernels.py:f", "leaving_kernels.py cannot be imported: SystemExit: 7\nraised at"),
        ("misspelt_kernels:f", "misspelt_kernels cannot be imported: SyntaxError: .*\nat .*misspelt_kernels.py:1"),
        ("needy_kernels:f", "needy_kernels cannot be imported: No module named 'no_such_package_at_all'\nraised at"),
        ("@77:gone", "lives in another process"),
    ],
)
def test_what_cannot_be_found_is_told_with_what_to_do(folder, target, says):
    with pytest.raises(UsageError, match=says):
        resolve(target)


def test_what_this_process_holds_is_found_by_its_number(monkeypatch):
    monkeypatch.setitem(HELD, "@1:thing", 42)
    assert resolve("@1:thing") == 42
