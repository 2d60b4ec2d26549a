"""What a case comes to is read in one piece where it was before, and is never another than plans and models give."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

from conformance.backends import kept_runs, onnx_capture
from conformance.backends.exporters import with_script
from conformance.backends.kept_runs import KeptRuns, ReadyStep
from conformance.backends.onnx_module import OnnxModule
from conformance.backends.onnx_step import OnnxStep
from conformance.inputs import make_inputs
from conformance.observation import Unsupported
from conformance.pack_cache import PackCache
from conformance.suite.case import Optimizer


@pytest.fixture
def disk(tmp_path):
    return PackCache(tmp_path, 1 << 24)


@pytest.fixture
def case(case_of):
    return case_of("BatchNorm1d", steps=("eval", "eval"))


def backend_on(disk, export=with_script):
    return OnnxModule("onnx-script", export, None, runs=KeptRuns(disk, "scope\n"))


def forbidden(*_):
    raise AssertionError("exported again")


def bits(observation):
    return [
        ({name: array.tobytes() for name, array in step.arrays.items()}, step.structure, list(map(of_node, step.nodes)))
        for step in observation.steps
    ]


def of_node(node):
    return node.name, node.kind, node.args, {name: array.tobytes() for name, array in node.arrays.items()}


@pytest.mark.parametrize(
    ("op", "more"),
    [
        ("BatchNorm1d", {"steps": ("eval", "eval")}),
        ("LayerNorm", {"dtype": "float64", "param_dtype": "float64", "steps": ("train", "eval")}),
        ("Linear", {"steps": ("train", "train"), "optimizer": Optimizer(lr=0.1, momentum=0.9)}),
        ("MLP", {"steps": ("eval",)}),
    ],
)
def test_a_run_that_was_before_needs_no_plan_and_no_model_and_gives_the_same(disk, case_of, monkeypatch, op, more):
    case = case_of(op, **more)
    inputs = make_inputs(case)
    expected = backend_on(disk).run(case, inputs)
    again = backend_on(disk, forbidden)
    monkeypatch.setattr(again._plans, "of", forbidden)
    monkeypatch.setattr(onnx_capture, "add_intermediates", forbidden)
    assert again._runs.complete(case)
    found = again.run(case, inputs)
    assert bits(found) == bits(expected)
    assert [bool(step.nodes) for step in found.steps] == [op == "MLP"] * len(case.steps)


@pytest.mark.parametrize(
    ("op", "more"),
    [
        ("BatchNorm1d", {"steps": ("train", "eval", "train")}),
        ("LayerNorm", {"steps": ("train", "train", "train"), "optimizer": Optimizer(lr=0.1, momentum=0.9)}),
    ],
)
def test_whole_steps_that_were_before_are_neither_traced_nor_looked_for_again(disk, case_of, monkeypatch, op, more):
    case = case_of(op, **more)
    inputs = make_inputs(case)
    expected = OnnxStep(runs=KeptRuns(disk, "scope\n")).run(case, inputs)
    again = OnnxStep(runs=KeptRuns(disk, "scope\n"))
    monkeypatch.setattr(again, "_graph", forbidden)
    monkeypatch.setattr(again, "_trace", forbidden)
    again.prepare([case])
    assert bits(again.run(case, inputs)) == bits(expected)


def test_a_refused_step_is_refused_again_in_the_same_words(disk, case_of, monkeypatch):
    case = case_of("BatchNorm1d", steps=("train", "eval"))
    backend = OnnxStep(runs=KeptRuns(disk, "scope\n"))

    def graph(_, phase):
        if phase.mode == "eval":
            raise Unsupported("export: no word for this")
        return b"graph"

    monkeypatch.setattr(backend, "_graph", graph)
    again = OnnxStep(runs=KeptRuns(disk, "scope\n"))
    monkeypatch.setattr(again, "_graph", forbidden)
    for each in (backend, again):
        with pytest.raises(Unsupported, match=r"^export: no word for this$"):
            each.run(case, make_inputs(case))


def test_inputs_that_are_not_the_cases_own_are_planned_for_and_kept_nowhere(disk, case):
    inputs = make_inputs(case)
    params = {name: array + np.float32(1) for name, array in inputs.params.items()}
    others = dataclasses.replace(inputs, params=params)
    expected = bits(backend_on(None).run(case, others))
    backend = backend_on(disk)
    assert bits(backend.run(case, others)) == expected
    assert not backend._runs.complete(case)
    own = bits(backend.run(case, inputs))
    assert own != expected
    assert bits(backend_on(disk).run(case, others)) == expected
    assert bits(backend_on(disk, forbidden).run(case, inputs)) == own


def test_a_refusal_is_kept_in_its_words_with_the_steps_before_it(disk, case):
    made = []

    def export(module, x, form):
        if made:
            raise ValueError("no second step")
        made.append(x)
        return with_script(module, x, form)

    moving = msgspec.structs.replace(case, steps=("eval", "train"))
    for backend in (backend_on(disk, export), backend_on(disk, forbidden)):
        with pytest.raises(Unsupported, match=r"^export: ValueError: no second step$"):
            backend.run(moving, make_inputs(moving))
    assert [bool(step.refused) for step in KeptRuns(disk, "scope\n").steps(moving)] == [False, True]


@pytest.mark.parametrize(("steps", "kept"), [(("eval", "eval"), 2), (("eval", "train"), 1)])
def test_what_the_runtime_refuses_is_asked_again_and_what_was_exported_by_then_is_kept(
    disk, case, monkeypatch, steps, kept
):
    """Two steps in one mode share a graph; that of another mode is exported when its turn comes."""
    case = msgspec.structs.replace(case, steps=steps)

    def refuse(*_, **__):
        raise Unsupported("run: no kernel")

    backend = backend_on(disk)
    with monkeypatch.context() as patched:
        patched.setattr("conformance.backends.onnx_module.run_graph", refuse)
        with pytest.raises(Unsupported, match="no kernel"):
            backend.run(case, make_inputs(case))
    assert len(KeptRuns(disk, "scope\n").steps(case)) == kept
    assert KeptRuns(disk, "scope\n").complete(case) == (kept == 2)
    assert len(backend_on(disk).run(case, make_inputs(case)).steps) == 2
    assert KeptRuns(disk, "scope\n").complete(case)


def test_another_case_another_exporter_and_other_inputs_makers_are_another_entry(disk, case, monkeypatch):
    KeptRuns(disk, "one").keep(case, [ReadyStep(b"a"), ReadyStep(b"b")])
    assert KeptRuns(disk, "one").complete(case)
    assert not KeptRuns(disk, "two").complete(case)
    for change in ({"seed": 1}, {"key": "f" * 12}, {"dtype": "float16"}, {"data": "scaled"}):
        assert not KeptRuns(disk, "one").complete(msgspec.structs.replace(case, **change))
    scope = KeptRuns.kept("dynamo")._scope
    assert KeptRuns.kept("script")._scope != scope
    for what, other in (("making", lambda: b"other"), ("source_digest", lambda *_: b"other")):
        with monkeypatch.context() as patched:
            patched.setattr(kept_runs, what, other)
            assert KeptRuns.kept("dynamo")._scope != scope


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [ReadyStep(b"", "export: MemoryError: not enough")],
        [ReadyStep(bytes(kept_runs._LARGEST + 1))],
        [ReadyStep(b"g", opened=bytes(kept_runs._LARGEST))],
    ],
)
def test_nothing_large_and_nothing_passing_is_kept(disk, case, steps):
    KeptRuns(disk).keep(case, steps)
    assert disk.contents().entries == 0


def test_a_file_that_somebody_else_wrote_is_put_together_anew(disk, case):
    runs = KeptRuns(disk, "scope\n")
    disk.put(runs._name(case), b"not a message")
    assert runs.steps(case) == ()
    assert len(backend_on(disk).run(case, make_inputs(case)).steps) == 2
    assert KeptRuns(disk, "scope\n").complete(case)


def test_only_so_many_stay_in_memory(disk, case, monkeypatch):
    monkeypatch.setattr(kept_runs, "_IN_MEMORY", 2)
    runs = KeptRuns(disk)
    for seed in range(4):
        runs.keep(msgspec.structs.replace(case, seed=seed), [ReadyStep(b"g", "no")])
    assert len(runs._entries) == 2
    assert all(runs.complete(msgspec.structs.replace(case, seed=seed)) for seed in range(4))
