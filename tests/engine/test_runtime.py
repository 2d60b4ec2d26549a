"""Which declared divergences hold for a case, where it runs."""

from __future__ import annotations

import pytest

from conformance.engine.runtime import applicable, foretold, possible, surroundings
from conformance.suite.case import Divergence, Origin, Raises
from conformance.suite.loader import load_suite
from conformance.suite.when import case_context, holds

BACKENDS = ("torch-cpu", "torch-cuda", "onnx-dynamo", "onnx-step", "onnx-training")
VERSIONS = {"torch": "2.13.0", "onnx": "1.23.2", "onnxruntime": "1.31.1"}


def _divergence(name, when):
    return Divergence(id=name, when=when, why="so it is", reference="onnx", origin=Origin("d.yaml", 7, 5))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_divergence_applies_where_all_of_its_conditions_hold_at_once(backend):
    suite = load_suite()
    here = surroundings(backend, VERSIONS)
    can = possible(suite.divergences, here)
    assert 0 < len(can) < len(suite.divergences)
    found = 0
    for case in suite.cases[::7]:
        expected = [
            suite.divergences[name]
            for name in case.divergences
            if holds(suite.divergences[name].when, {**case_context(case), **here})
        ]
        assert applicable(case, suite.divergences, here) == applicable(case, can, here) == expected
        found += len(expected)
    assert found


@pytest.mark.parametrize(
    ("when", "does"),
    [
        ({"backend": "onnx-dynamo"}, True),
        ({"backend": "onnx-step"}, False),
        ({"backend": ["onnx-step", "onnx-dynamo"], "op": "LayerNorm"}, True),
        ({"op": "LayerNorm"}, True),
        ({"device": "cpu", "onnxruntime": "<2"}, True),
        ({"device": "cuda"}, False),
        ({"onnxruntime": "<1.31"}, False),
        ({"onnxscript": "<2"}, False),  # a package that the backend does not use
    ],
)
def test_what_a_divergence_asks_of_the_place_must_hold_and_the_case_must_bear_it(when, does, case_of):
    declared = {"d": _divergence("d", when), "other": _divergence("other", when)}
    case = case_of("LayerNorm", (4, 6), divergences=("d",))
    here = surroundings("onnx-dynamo", VERSIONS)
    assert list(possible(declared, here)) == ["d", "other"] * does
    assert [divergence.id for divergence in applicable(case, declared, here)] == ["d"] * does


def test_the_device_follows_from_the_backend():
    assert surroundings("torch-cuda", {})["device"] == "cuda"
    assert surroundings("onnx-dynamo", {})["device"] == "cpu"
    assert {"machine", "python", "numpy"} <= set(surroundings("torch-cpu", {}))


@pytest.mark.parametrize(
    ("when", "raises", "told"),
    [
        ({"backend": "torch-cpu"}, Raises("SIGSEGV", "died"), True),
        ({"backend": "torch-cpu"}, Raises("SIGABRT", "died"), False),
        ({"backend": "onnx-step"}, Raises("SIGSEGV", "died"), False),
        ({"backend": "torch-cpu"}, None, False),
    ],
)
def test_a_death_is_foretold_by_a_divergence_that_declares_this_death_here(when, raises, told, case_of):
    declared = {"d": Divergence(id="d", when=when, why="so it is", raises=raises, origin=Origin("d.yaml", 7, 5))}
    case = case_of("LayerNorm", (4, 6), divergences=("d",))
    assert (foretold(case, "torch-cpu", "SIGSEGV", declared, VERSIONS) is not None) == told
