"""What decides an export, told without importing it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from conformance.backends import toolchain as module
from conformance.backends.toolchain import EXPORTING, not_installed, toolchain, versions_of

BACKENDS = Path(module.__file__).parent
#: where exports begin: the exporters themselves, the state that graphs hold, and whole steps
ROOTS = ("batch_export", "planning", "plans", "state", "step_trace")


def _imported(name: str) -> set[str]:
    """The modules of backends that this one imports, inside functions too."""
    tree = ast.parse((BACKENDS / f"{name}.py").read_text(encoding="utf-8"))
    froms = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    found = {each.removeprefix("conformance.backends.") for each in froms if each.startswith("conformance.backends.")}
    return found - {"export_cache"}  # keeps bytes and decides none


def test_every_module_that_decides_an_export_is_part_of_its_key():
    reached, waiting = set(), set(ROOTS)
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= _imported(name) - reached
    assert sorted(reached) == sorted(EXPORTING)


def test_the_toolchain_names_what_decides_an_export(monkeypatch):
    said = toolchain()
    for package in ("python", "torch", "onnx", "onnxscript", "numpy", "torch build", "code"):
        assert f"\n{package} " in f"\n{said}"
    toolchain.cache_clear()
    monkeypatch.setattr(module, "version_of", lambda name: "0.0")
    assert toolchain() != said
    toolchain.cache_clear()


def test_another_build_of_torch_is_another_toolchain(monkeypatch):
    said = toolchain()
    toolchain.cache_clear()
    monkeypatch.setattr(module, "_torch_build", lambda: "another")
    assert toolchain() != said
    toolchain.cache_clear()


def test_versions_are_those_that_the_packages_say_and_none_is_imported_for_it():
    code = (
        "import sys; from conformance.backends.toolchain import toolchain, versions_of; toolchain();"
        "found = versions_of('torch', 'onnxruntime');"
        "assert not {'torch', 'onnxruntime'} & set(sys.modules);"
        "import torch, onnxruntime as ort; assert found == {'torch': torch.__version__, 'onnxruntime': ort.__version__}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=BACKENDS.parents[1])


def test_what_is_not_installed_is_named():
    assert versions_of("no-such-package") == {"no-such-package": "missing"}
    assert not_installed("torch", "onnx") is None
    assert not_installed("torch", "no_such_package") == "cannot be imported: No module named 'no_such_package'"
