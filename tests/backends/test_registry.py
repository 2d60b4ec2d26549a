"""Loading backends by name."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from conformance import backends
from conformance.errors import UsageError


class Foreign:
    """A backend of somebody else's, as small as the contract allows."""

    name = "foreign"
    observes = ()

    def available(self):
        return None

    def versions(self):
        return {}

    def unsupported(self, case):
        return None

    def prepare(self, cases):
        pass

    def run(self, case, inputs):
        raise NotImplementedError


class Incomplete:
    name = "foreign"


def _register(monkeypatch, value):
    point = EntryPoint("foreign", value, backends.GROUP)
    monkeypatch.setattr(backends, "entry_points", lambda group: [point] if group == backends.GROUP else [])
    module = type(sys)("backends_of_somebody")
    module.Foreign, module.Incomplete = Foreign, Incomplete
    monkeypatch.setitem(sys.modules, "backends_of_somebody", module)


@pytest.mark.parametrize("name", backends.NAMES)
def test_every_backend_carries_the_name_it_is_loaded_by(name):
    assert backends.load(name).name == name


def test_naming_the_backends_imports_no_framework():
    code = "import sys, conformance.backends as b; b.names(); print({'torch', 'onnx', 'numpy'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(UsageError, match="'torch-cqu' is not a backend; did you mean 'torch-cpu'"):
        backends.load("torch-cqu")


def test_a_backend_of_another_distribution_is_found_and_loaded(monkeypatch):
    _register(monkeypatch, "backends_of_somebody:Foreign")
    assert backends.names() == (*backends.NAMES, "foreign")
    assert isinstance(backends.load("foreign"), Foreign)


def test_a_foreign_backend_that_lacks_a_method_is_refused_by_the_methods_name(monkeypatch):
    _register(monkeypatch, "backends_of_somebody:Incomplete")
    with pytest.raises(UsageError, match=r"lacks observes, available, versions, unsupported, prepare, run"):
        backends.load("foreign")


def test_a_foreign_backend_that_cannot_be_imported_is_a_usage_error(monkeypatch):
    _register(monkeypatch, "no_such_module:Foreign")
    with pytest.raises(UsageError, match="no_such_module"):
        backends.load("foreign")


def test_a_backend_without_its_framework_says_what_is_missing(monkeypatch, case_of):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in [name for name in sys.modules if name.startswith("conformance.backends.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    missing = backends.load("onnx-script")
    assert missing.name == "onnx-script"
    assert "onnxruntime" in missing.available()
    assert missing.unsupported(case_of("LayerNorm")) == missing.available()
