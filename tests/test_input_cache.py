"""Inputs may be kept on disk, and are then those that would have been made."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

from conformance import input_cache
from conformance.engine.tools import standard
from conformance.input_cache import LARGEST, KeptInputs, decoded, encoded
from conformance.inputs import make_inputs
from conformance.pack_cache import PackCache
from conformance.suite.loader import load_suite


@pytest.fixture
def store(tmp_path):
    return PackCache(tmp_path / "inputs", 1 << 28)


@pytest.fixture
def made(monkeypatch):
    """The cases whose inputs were made and not read."""
    found = []

    def counting(case):
        found.append(case.key)
        return make_inputs(case)

    monkeypatch.setattr(input_cache, "make_inputs", counting)
    return found


def bits(inputs):
    def of(arrays):
        return [(name, array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()]

    steps = [of({"x": step.x, "grad_output": step.grad_output}) for step in inputs.steps]
    return of(inputs.params), of(inputs.buffers), steps


@pytest.fixture
def case(case_of):
    return case_of("BatchNorm2d", (4, 3, 5, 6), "bfloat16", steps=("train", "eval"))


def test_what_is_read_is_what_would_be_made_for_cases_of_every_op_and_dtype(store):
    cases = [case for case in load_suite().cases if "slow" not in case.marks and np.prod(case.shape) < 4096][::23]
    assert len({case.op for case in cases}) > 20
    first, again = KeptInputs(store), KeptInputs(store)
    for case in cases:
        expected = bits(make_inputs(case))
        assert bits(first(case)) == expected
        assert bits(again(case)) == expected


def test_inputs_are_made_once_and_then_read(store, case, made):
    for _ in range(3):
        KeptInputs(store)(case)
    assert made == [case.key]


def test_what_is_read_may_be_written_to_and_is_nobody_elses(store, case):
    KeptInputs(store)(case)
    one, other = KeptInputs(store)(case), KeptInputs(store)(case)
    before = bits(other)
    for array in (*one.params.values(), *one.buffers.values(), one.steps[0].x, one.steps[1].grad_output):
        assert array.flags.writeable
        assert array.flags.aligned
        array[...] = 3
    assert bits(other) == before
    assert bits(KeptInputs(store)(case)) == before


@pytest.mark.parametrize("change", [{"key": "f" * 12}, {"data": "scaled"}, {"params": "default"}, {"seed": 1}])
def test_another_case_is_not_answered_with_these_inputs(store, case, made, change):
    KeptInputs(store)(case)
    KeptInputs(store)(msgspec.structs.replace(case, **change))
    assert len(made) == 2


def test_what_is_only_said_about_a_case_does_not_matter(store, case, made):
    KeptInputs(store)(case)
    KeptInputs(store)(msgspec.structs.replace(case, about="else", group="g", marks=("slow",), id="x"))
    assert len(made) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a message",
        msgspec.msgpack.encode([[["weight", "float32", [3], 0]], [], [], b"four"]),  # beyond its end
        msgspec.msgpack.encode([[["weight", "complex64", [1], 0]], [], [], b"four"]),
    ],
)
def test_a_file_that_somebody_else_wrote_is_made_anew(store, case, made, content):
    store.put(input_cache._key(case), content)
    assert bits(KeptInputs(store)(case)) == bits(make_inputs(case))
    KeptInputs(store)(case)
    assert len(made) == 1


def test_a_damaged_file_is_made_anew(store, case, made):
    KeptInputs(store)(case)
    (file,) = store.folder.glob("*.pack")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert bits(KeptInputs(store)(case)) == bits(make_inputs(case))
    assert len(made) == 2


def test_large_inputs_are_neither_looked_for_nor_kept(store, case_of):
    KeptInputs(store)(case_of("LayerNorm", (LARGEST // 8, 2), "float32"))
    KeptInputs(store)(
        case_of("Linear", (2, 1100), "float32", in_features=1100, out_features=1000)
    )  # large for its weight
    assert store.contents().entries == 0


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_empty_inputs_are_kept_too(store, case_of, made, shape):
    case = case_of("BatchNorm1d", shape, "float32", steps=("eval", "eval"))
    expected = bits(make_inputs(case))
    for _ in range(2):
        assert bits(KeptInputs(store)(case)) == expected
    assert len(made) == 1


def test_an_array_keeps_its_type_and_shape_on_the_way():
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    inputs = dataclasses.replace(
        input_cache.Inputs({}, {}, ()), params={"weight": array}, buffers={"count": np.array(7, np.int64)}
    )
    assert bits(decoded(encoded(inputs))) == bits(inputs)


def test_a_run_without_caches_makes_its_inputs(monkeypatch):
    monkeypatch.setenv("CONFORMANCE_CACHE", "off")
    assert standard().make_inputs is make_inputs
    monkeypatch.setenv("CONFORMANCE_CACHE", "on")
    assert isinstance(standard().make_inputs, KeptInputs)
