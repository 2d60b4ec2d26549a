"""Exported models in memory and on disk."""

from __future__ import annotations

import msgspec
import onnx
import pytest
from onnx import TensorProto, helper

from conformance.backends.export_cache import ExportCache
from conformance.backends.models import Bytewise, Failed, Made, Models, Slot
from conformance.observation import Unsupported


def _model(size: int = 10) -> onnx.ModelProto:
    """A well-formed model of about this many bytes more than another."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    return helper.make_model(graph, doc_string="x" * size)


@pytest.fixture
def disk(tmp_path) -> ExportCache:
    return ExportCache(tmp_path)


@pytest.mark.parametrize("entry", [Made(b"model", (Slot("weight", 1, 3),)), Failed("no such operator"), Bytewise()])
def test_an_entry_outlives_the_process(disk, entry):
    Models(disk=disk, scope="s").keep("d", entry)
    assert Models(disk=disk, scope="s").entry("d") == entry


def test_another_exporter_or_toolchain_finds_nothing(disk):
    Models(disk=disk, scope="torch 2.12").keep("d", Bytewise())
    assert Models(disk=disk, scope="torch 2.13").entry("d") is None
    assert Models(disk=disk, scope="torch 2.12").entry("e") is None


def test_models_and_refusals_come_back_as_they_were_put(disk):
    Models(disk=disk).put("a", _model())
    Models(disk=disk).put("b", Unsupported("export: no"))
    again = Models(disk=disk)
    assert again.get("a") == _model()
    assert str(again.get("b")) == "export: no"
    assert again.get("c") is None
    assert ("a" in again, "c" in again) == (True, False)


@pytest.mark.parametrize("words", ["RuntimeError: not enough memory: you tried to allocate", "export: MemoryError: "])
def test_a_failure_that_may_pass_is_not_kept_on_disk(disk, words):
    models = Models(disk=disk)
    models.keep("a", Failed(words))
    assert models.entry("a") == Failed(words)
    assert Models(disk=disk).entry("a") is None


def test_what_is_whole_but_not_ours_is_made_anew(disk):
    models = Models(disk=disk)
    disk.put(models._name("a"), msgspec.msgpack.encode({"type": "Other"}))
    assert models.entry("a") is None
    models.keep("a", Bytewise())
    assert Models(disk=disk).entry("a") == Bytewise()


def test_the_cheapest_models_to_lose_are_the_oldest():
    models = Models(limit=2500)
    for name in ("a", "b"):
        models.put(name, _model(1000))
    models.get("a")
    models.put("c", _model(1000))
    assert [name in models for name in "abc"] == [True, False, True]


def test_what_leaves_memory_is_still_on_disk(disk):
    models = Models(limit=1500, disk=disk)
    for name in "abc":
        models.put(name, _model(1000))
    assert all(models.get(name) == _model(1000) for name in "abc")


def test_a_model_that_the_checker_refuses_is_kept_as_its_words(disk):
    broken = _model()
    broken.graph.node[0].op_type = "NoSuchOperator"
    Models(disk=disk).put("a", broken)
    again = Models(disk=disk).get("a")
    assert isinstance(again, Unsupported)
    assert str(again).startswith("load: ValidationError: No Op registered for NoSuchOperator")
