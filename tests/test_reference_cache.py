"""What references said may be kept on disk, and never changes a verdict."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from conformance import reference_cache
from conformance.engine import tools
from conformance.inputs import make_inputs
from conformance.judge import Expectation
from conformance.observation import Observation, StepObservation
from conformance.pack_cache import PackCache
from conformance.reference_cache import KeptReferences, decoded, encoded
from references.rounding import STORAGE

CASES = (
    ("BatchNorm2d", (4, 3, 5, 6), "float32", {"steps": ("train", "train", "eval")}),
    ("LayerNorm", (3, 8), "bfloat16", {"data": "constant-slice", "eps": 1e-30, "robustness": True}),
    ("GroupNorm", (2, 4, 3), "float64", {"num_groups": 2, "data": "f10-nan"}),
    ("InstanceNorm1d", (2, 3, 8), "float16", {"track_running_stats": True, "steps": ("train", "eval")}),
    ("BatchNorm1d", (0, 3), "float32", {"steps": ("eval",)}),
)


@pytest.fixture
def memory(tmp_path):
    return KeptReferences(PackCache(tmp_path / "references", 1 << 30))


@pytest.fixture
def case(case_of):
    return case_of("BatchNorm2d", (4, 3, 5, 6), "float32", steps=("train", "eval"))


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert list(a.quantities) == list(b.quantities)
        assert (a.n, a.undetermined_slices) == (b.n, b.undetermined_slices)
        assert repr(a.kappa) == repr(b.kappa)
        for name, quantity in a.quantities.items():
            found = b.quantities[name]
            assert (quantity.stored, quantity.any_nonfinite) == (found.stored, found.any_nonfinite)
            np.testing.assert_array_equal(quantity.value, found.value, strict=True)
            np.testing.assert_array_equal(quantity.scale, found.scale, strict=True)
            assert (quantity.undetermined is None) == (found.undetermined is None)
            if quantity.undetermined is not None:
                np.testing.assert_array_equal(quantity.undetermined, found.undetermined)


@pytest.mark.parametrize(("op", "shape", "dtype", "given"), CASES)
def test_what_is_read_back_is_what_was_computed_bit_for_bit(case_of, memory, op, shape, dtype, given):
    case = case_of(op, shape, dtype, **given)
    inputs = make_inputs(case)
    for label in ("A", "B"):
        computed = Expectation(case, inputs).steps(label)
        same(computed, decoded(encoded(computed)))
        first, second = Expectation(case, inputs, memory), Expectation(case, inputs, memory)
        same(computed, first.steps(label))
        assert not first.remembered
        same(computed, second.steps(label))
        assert second.remembered


def test_a_key_tells_apart_everything_that_decides(case_of, memory, case, monkeypatch):
    inputs = make_inputs(case)
    first, *rest = inputs.steps
    x = first.x.copy()
    x.flat[0] = np.nextafter(x.flat[0], np.float32(9))
    moved = dataclasses.replace(inputs, steps=(dataclasses.replace(first, x=x), *rest))
    keys = [
        memory.key(case, inputs, "A", ""),
        memory.key(case, inputs, "B", ""),
        memory.key(case, inputs, "A", "onnx"),
        memory.key(case, moved, "A", ""),
        memory.key(msgspec.structs.replace(case, steps=("train", "train")), inputs, "A", ""),
        memory.key(msgspec.structs.replace(case, args=case.args | {"eps": 1e-3}), inputs, "A", ""),
        memory.key(msgspec.structs.replace(case, key="other"), inputs, "A", ""),
    ]
    monkeypatch.setattr(reference_cache, "_surroundings", lambda: b"another version")
    keys.append(memory.key(case, inputs, "A", ""))
    assert len({*keys}) == len(keys)
    assert None not in keys


def test_a_key_does_not_depend_on_what_describes_a_case(memory, case):
    inputs = make_inputs(case)
    other = msgspec.structs.replace(case, id="other::name", about="words", marks=("slow",), group="g")
    assert memory.key(other, inputs, "A", "") == memory.key(case, inputs, "A", "")


def test_a_changed_source_of_a_reference_changes_every_key(tmp_path):
    """In a copy of the two packages, so that a process of its own sees another source."""
    root = Path(reference_cache.__file__).parents[1]
    for package in ("conformance", "references"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    script = "from conformance.reference_cache import _surroundings; print(_surroundings().hex())"

    def digest():
        return subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    before = digest()
    assert digest() == before
    for name in ("references/batch_norm.py", "conformance/ops/normalisation.py"):
        source = tmp_path / name
        source.write_text(source.read_text() + "# another line\n")
        after = digest()
        assert after != before
        before = after


def test_large_cases_and_references_of_others_are_not_kept(case_of, memory, case, monkeypatch):
    large = case_of("LayerNorm", (64, 64), "float32")
    assert memory.key(large, make_inputs(large), "A", "") is None
    inputs = make_inputs(case)
    assert memory.key(case, inputs, "A", "") is not None
    foreign = dataclasses.replace(reference_cache.OPS[case.op], reference="mykernels.references:BatchNorm")
    monkeypatch.setitem(reference_cache.OPS, case.op, foreign)
    assert memory.key(case, inputs, "A", "") is None


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[:-9] + b"\x01" + data[-8:], lambda _: b""]
)
def test_a_damaged_entry_is_computed_anew_and_kept_again(tmp_path, memory, case, damage):
    inputs = make_inputs(case)
    computed = Expectation(case, inputs, memory).steps()
    (file,) = tmp_path.rglob("*.pack")
    file.write_bytes(damage(file.read_bytes()))
    for remembered in (False, True):
        again = Expectation(case, inputs, memory)
        same(computed, again.steps())
        assert again.remembered == remembered


def right(case, inputs, *, wrong_by=0.0):
    """What a perfect backend observes, or one whose outputs are off."""
    steps = []
    for step in Expectation(case, inputs).steps():
        arrays = {name: q.value.astype(STORAGE[q.stored]) for name, q in step.quantities.items()}
        arrays["output"] = arrays["output"] + np.float32(wrong_by)
        steps.append(StepObservation(arrays))
    return Observation(tuple(steps))


def test_a_pass_is_told_from_what_was_kept(memory, case):
    inputs = make_inputs(case)
    Expectation(case, inputs, memory).steps()
    expectation = Expectation(case, inputs, memory)
    assert tools.judged(case, expectation, right(case, inputs), (), ()).verdict == "pass"
    assert expectation.remembered


def test_a_failure_is_told_from_references_computed_there_and_then(memory, case, monkeypatch):
    inputs = make_inputs(case)
    Expectation(case, inputs, memory).steps()
    expectation = Expectation(case, inputs, memory)
    assert tools.judged(case, expectation, right(case, inputs, wrong_by=0.1), (), ()).verdict == "fail"
    assert not expectation.remembered
    assert expectation.steps()[0].state, "computed steps hold the state that diagnosis goes on from"


def test_a_wrong_result_that_was_kept_fails_nobody_and_is_put_right(memory, case):
    """As if a kept file had been made by a machine whose arithmetic was broken."""
    inputs = make_inputs(case)
    steps = Expectation(case, inputs).steps()
    wrong = [
        dataclasses.replace(
            step,
            quantities=step.quantities
            | {"output": dataclasses.replace(step.quantities["output"], value=step.quantities["output"].value + 1)},
        )
        for step in steps
    ]
    key = memory.key(case, inputs, "A", "")
    memory.put(key, wrong)
    assert tools.judge(case, Expectation(case, inputs, memory), right(case, inputs)).verdict == "fail"
    assert tools.judged(case, Expectation(case, inputs, memory), right(case, inputs), (), ()).verdict == "pass"
    same(steps, memory.get(key))


def test_switched_off_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path))
    assert reference_cache.standard_references() is not None
    monkeypatch.setenv("CONFORMANCE_CACHE", "off")
    assert reference_cache.standard_references() is None


def test_several_processes_may_keep_the_same_results_at_once(tmp_path, case):
    script = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conformance.pack_cache import PackCache
from conformance.reference_cache import KeptReferences
from references.expected import Expected, Quantity
import numpy as np
memory = KeptReferences(PackCache(Path(sys.argv[2]), 1 << 30))
steps = [Expected({"output": Quantity(np.arange(50.0), np.ones(50), "float32")}, {}, n=3)]
for round_ in range(200):
    memory.put("ab" * 32, steps)
    found = memory.get("ab" * 32)
    assert found is not None and found[0].quantities["output"].value.sum() == 1225
"""
    root = str(Path(reference_cache.__file__).parents[1])
    processes = [
        subprocess.Popen([sys.executable, "-c", script, root, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", "", ""]
