"""Who may import whom, and what a quick command may load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRAMEWORKS = {"torch", "onnx", "onnxruntime", "onnxscript"}
HEAVY = FRAMEWORKS | {"numpy", "pytest", "hypothesis"}
LIGHT = ("suite", "ops", "report", "cli")  # packages; with record and errors they answer in an instant
BACKENDS_ALONE = ("backends",)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(file: Path) -> set[str]:
    """The absolute names that a file imports, inside functions too; names that only type checkers see do not count."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return names


def roots(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a statement."""
    script = (
        f"{statement}\nimport sys, json\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("file", modules("references"), ids=lambda file: file.stem)
def test_references_know_numpy_and_ml_dtypes_alone(file):
    foreign = roots(imports(file)) - set(sys.stdlib_module_names) - {"numpy", "ml_dtypes", "references"}
    assert not foreign


@pytest.mark.parametrize("file", modules("conformance"), ids=lambda file: str(file.relative_to(ROOT)))
def test_only_backends_import_a_framework(file):
    if file.relative_to(ROOT / "conformance").parts[0] not in BACKENDS_ALONE:
        assert not roots(imports(file)) & FRAMEWORKS


@pytest.mark.parametrize("package", LIGHT)
def test_light_packages_import_nothing_heavy_even_through_others(package):
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in modules(f"conformance/{package}")
        if file.stem != "__main__"
    ]
    assert not loaded_by(f"import {', '.join(names)}") & HEAVY


def test_record_and_errors_import_nothing_heavy():
    assert not loaded_by("import conformance.record, conformance.errors") & HEAVY


def test_judge_and_references_and_inputs_do_not_know_backends_engine_or_reports():
    for package in ("judge", "inputs", "suite", "ops"):
        for file in modules(f"conformance/{package}"):
            known = {name for name in imports(file) if name.startswith("conformance.")}
            assert not {name.split(".")[1] for name in known} & {"backends", "engine", "report", "cli"}, file


def test_backends_do_not_know_verdicts():
    for file in modules("conformance/backends"):
        known = {name.split(".")[1] for name in imports(file) if name.startswith("conformance.")}
        assert not known & {"judge", "record", "engine", "report", "cli"}, file


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["list", "--format", "json"],
        ["run", "--help"],
        ["report", "--help"],
        ["schema"],
        ["explain"],
        ["repro", "--help"],
    ],
    ids=" ".join,
)
def test_quick_commands_load_nothing_heavy_and_draw_without_rich(arguments):
    statement = f"from conformance.cli.command import invoke\nassert invoke({arguments!r}) == 0"
    assert not loaded_by(statement) & (HEAVY | {"rich", "jinja2", "execnet"})


def test_a_report_is_drawn_without_numpy_and_frameworks(tmp_path):
    fakes = str(ROOT / "tests" / "fakes")
    statement = (
        f"import sys; sys.path.insert(0, {fakes!r})\n"
        "from conformance.report.formats import FORMATS\n"
        "from conformance.engine.store import StoredRun\n"
        "from conformance.record import Header\n"
        "for form in FORMATS.values(): form(StoredRun(Header(), (), None))"
    )
    assert not loaded_by(statement) & HEAVY
