"""Which versions decide what is exported and computed, told without importing any of the packages."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("torch", "onnx", "onnxscript", "onnx-ir", "numpy", "ml_dtypes")
#: the modules beside this one that decide a graph or the state that it holds; a test follows what they import
EXPORTING = (
    "arrays", "batch_export", "call_costs", "canonical", "cumulative", "dynamic_axes", "exporters", "form", "models",
    "modules", "planned", "planning", "plans", "reasons", "state", "step_decompositions", "step_graph", "step_phases",
    "step_trace", "tensors", "toolchain", "training",
)  # fmt: skip


@cache  # looking a version up searches the folders of all packages
def version_of(package: str) -> str:
    """The version of an installed package, or ``missing``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def versions_of(*packages: str) -> dict[str, str]:
    return {package: version_of(package) for package in packages}


def not_installed(*packages: str) -> str | None:
    """Which of these packages Python would not find, as a reason; None where it would find all."""
    for package in packages:
        try:
            found = find_spec(package)
        except (ImportError, ValueError):
            found = None
        if found is None:
            return f"cannot be imported: No module named {package!r}"
    return None


@cache
def toolchain() -> str:
    """What decides an export beside the layer: the packages, the interpreter, and every line of the exporting code."""
    lines = [f"python {platform.python_version()} {platform.machine()}"]
    lines += [f"{name} {found}" for name, found in versions_of(*_PACKAGES).items()]
    lines.append(f"torch build {_torch_build()}")
    code = hashlib.sha256()
    for name in EXPORTING:
        code.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    lines.append(f"code {code.hexdigest()}")
    return "\n".join(lines)


def _torch_build() -> str:
    """The digest of the file in which torch states its version and commit, which its version alone does not tell."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return "unknown"
    stated = Path(found.origin).with_name("version.py")
    return hashlib.sha256(stated.read_bytes()).hexdigest() if stated.is_file() else "unknown"
