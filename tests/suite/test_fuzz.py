"""Broken case files: each gives a clear error with a place, or a suite; never another exception, in bounded time."""

from __future__ import annotations

import copy
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.errors import UsageError
from conformance.suite.loader import expand_files, shipped_cases
from conformance.suite.problems import CaseFileError
from conformance.suite.suite import Suite

SEED = """\
spec: 1
op: BatchNorm2d
about: A file with everything in it.
defaults:
  shape: {small: [4, 3, 5, 6]}
  dtype: float32
  args: {affine: true, track_running_stats: true, momentum: 0.1, eps: 1e-5}
  steps: [train, train, eval]
  tolerance: {output: {rtol: 1e-3}}
groups:
  - id: semantics
    vary:
      args.affine: [true, false]
      args.momentum: {m0.1: 0.1, average: null}
      steps: {tte: [train, train, eval], e: [eval]}
    rules:
      - when: {args.momentum: null, steps: [eval]}
        skip: no effect
      - when: {args.affine: false}
        tolerance: {grad_input: {ulp: 4, budget: 2}}
  - id: environments
    slow: true
    combine: pairwise
    set: {seed: 1, params: negative}
    vary:
      shape: {odd: [5, 7, 3, 9], empty: [0, 3, 4, 4], point: [1, 3, 1, 1]}
      dtype: [float32, bfloat16]
      param_dtype: {same: null, wide: float32}
      layout: [contiguous, channels_last]
    rules:
      - when: {facts.values_per_channel: 1, steps: {contains: train}}
        raises: {type: ValueError, match: "more than 1 value"}
      - when: {dtype: {not: float32}, facts.batch: {ge: 4, lt: 9}}
        set: {data: scaled, args: {eps: 0.5}}
divergences:
  - id: drops-train
    when: {backend: [onnx-dynamo, x], steps: {contains: train}, torch: "<2.16"}
    why: written in inference form
    see: https://example.org
    size: {output: [0.1, 50], grad.*: [0, 1]}
cases:
  - {id: found, shape: [1, 1, 1, 33], marks: [slow], robustness: true}
  - id: other
    op: LayerNorm
    args: {normalized_shape: {last: 2}}
"""
SEED = SEED.replace(
    "  args: {affine: true, track_running_stats: true, momentum: 0.1, eps: 1e-5}\n", "  args: {eps: 1e-5}\n"
)
TOKENS = [
    *"{}[]:,-#&*!|>'\"%@`?~\t\n\0\x85\ufeff\U0001f600", "---", "...", "<<", "- ", ": ", "null", "true", "off", "1e999",
    ".nan", "-1", "99999999999999999999", "0x1f", "''", "!!python/name:os.system", "&a", "*a", "float64", "train",
    "shape", "args.eps", "facts.batch", "when", "vary", "{a: {a: {a: 1}}}", "[[[[]]]]", "x" * 3000, "%YAML 1.3\n",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63 - 1, 1.5, float("nan"), float("inf"), "", "x", "float32", "train", [],
    {}, [[]], [1, 2, 3], [0, 0, 0, 0], {"a": 1}, {"last": 9}, {"not": 1}, {"contains": []}, {"a b": [1]}, "a\nb",
    "(", [None], [True, 1, 1.0], {"not": {"not": {"not": None}}}, [2**20] * 4, ["train"] * 65, "\u202e",
]  # fmt: skip
LIMIT = 10.0  # seconds for one file on a busy machine; typical is milliseconds


def check(data: bytes, folder: Path) -> bool:
    """Whether the bytes are a good case file; asserts that they are otherwise refused as they should."""
    file = folder / "fuzz.yaml"
    file.write_bytes(data)
    start = time.perf_counter()
    result = outcome(file)
    assert time.perf_counter() - start < LIMIT
    if isinstance(result, Suite):
        assert len({case.id for case in result.cases}) == len(result.cases)
        return True
    assert result.problems
    for problem in result.problems:
        assert problem.file.endswith("fuzz.yaml")
        assert problem.line >= 1
        assert problem.col >= 1
        assert problem.message
        assert "\n" not in problem.message + problem.path
    assert str(result).splitlines()[-1].endswith("no case was run")
    return False


def outcome(file: Path) -> Suite | CaseFileError:
    try:
        return expand_files([file])
    except CaseFileError as error:
        return error


def mutate_bytes(chance: random.Random, text: str) -> bytes:
    data = bytearray(text.encode())
    for _ in range(chance.choice([1, 1, 2, 5, 30])):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[place:place] = bytes([chance.randrange(256)])
            case 1:
                del data[place : place + chance.choice([1, 2, 40])]
            case 2 if place < len(data):
                data[place] ^= 1 << chance.randrange(8)
            case _:
                other = chance.randrange(len(data) + 1)
                data[place:place] = data[other : other + chance.choice([1, 10, 200])]
    return bytes(data)


def mutate_tokens(chance: random.Random, text: str) -> bytes:
    for _ in range(chance.choice([1, 1, 2, 4])):
        place, size = chance.randrange(len(text) + 1), chance.choice([0, 1, 1, 6, 30])
        text = text[:place] + chance.choice(TOKENS) + text[place + size :]
    return text.encode("utf-8", "surrogatepass")


def mutate_structure(chance: random.Random, text: str) -> bytes:
    tree = yaml.load(text, Loader=yaml.CSafeLoader)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        parent, key = chance.choice(places(tree))
        match chance.randrange(5):
            case 0:
                parent[key] = copy.deepcopy(chance.choice(VALUES))
            case 1:
                other, name = chance.choice(places(tree))
                parent[key] = copy.deepcopy(other[name])
            case 2 if isinstance(parent, dict):
                parent[chance.choice(["zzz", "shape", "args", "op", "id", "args.eps", "dtype", "steps", "when"])] = (
                    parent.pop(key)
                )
            case 3 if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[key]))
            case _ if len(parent) > 1:
                del parent[key]
    return yaml.dump(tree, Dumper=NoAliases, allow_unicode=True).encode("utf-8", "surrogatepass")


class NoAliases(yaml.SafeDumper):
    """Writes equal nodes out, so that a mutation is not refused for its alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def places(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        parent = waiting.pop()
        for key, value in parent.items() if isinstance(parent, dict) else enumerate(parent):
            found.append((parent, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    return found


def texts() -> list[str]:
    return [SEED, *(file.read_text(encoding="utf-8") for file in sorted(shipped_cases().glob("*.yaml"))[-2:])]


def test_the_unbroken_files_are_good(tmp_path: Path) -> None:
    assert all(check(text.encode(), tmp_path) for text in texts())


@pytest.mark.parametrize("mutate", [mutate_bytes, mutate_tokens, mutate_structure])
def test_seven_hundred_mutants_are_refused_with_a_place_or_accepted(mutate: Any, tmp_path: Path) -> None:
    chance = random.Random(f"case files, {mutate.__name__}")
    pool = [SEED] * 6 + texts()
    good = sum(check(mutate(chance, chance.choice(pool)), tmp_path) for _ in range(700))
    assert 0 < good < 630  # both outcomes are met, so the mutations are neither harmless nor all fatal


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from([mutate_bytes, mutate_tokens, mutate_structure]))
def test_further_mutants_are_refused_or_accepted(
    tmp_path_factory: pytest.TempPathFactory, seed: int, mutate: Any
) -> None:
    check(mutate(random.Random(seed), SEED), tmp_path_factory.getbasetemp())


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.binary(max_size=200) | st.text(st.sampled_from("ab:-[]{},#&*!|>'\" \n"), max_size=60).map(str.encode))
def test_any_bytes_are_refused_or_accepted(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    assert not check(data, tmp_path_factory.getbasetemp())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats() | st.text(max_size=4)
    | st.sampled_from(["float32", "train", "normal", "BatchNorm2d", "<2"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["id", "op", "args", "when", "vary", "set", "rules", "shape", "steps", "skip", "args.eps"]),
        inner, max_size=4,
    ),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["defaults", "groups", "divergences", "cases"]), JSON, max_size=4))
def test_any_structure_is_refused_or_accepted(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    text = yaml.dump({"spec": 1, "op": "BatchNorm2d", **tree}, Dumper=NoAliases, allow_unicode=True)
    check(text.encode("utf-8", "surrogatepass"), tmp_path_factory.getbasetemp())


def test_a_path_that_is_no_file_is_a_usage_error(tmp_path: Path) -> None:
    from conformance.suite.loader import load_suite

    with pytest.raises(UsageError):
        load_suite([tmp_path / ("x" * 5000)])
