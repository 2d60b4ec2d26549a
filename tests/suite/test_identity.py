from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from conformance.suite.identity import digest_of, key_of_case, spelled

BASE = "shape: [2, 3, 4, 5]"


def key(load: Callable[..., Any], fields: str) -> str:
    (case,) = load(f"cases: [{{id: a, {fields}}}]\n").cases
    return case.key


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (f"{BASE}, optimizer: {{lr: 1}}", f"{BASE}, optimizer: {{lr: 1.0, momentum: 0, nesterov: false}}"),
        (f"{BASE}, optimizer: null", f"{BASE}"),
        (f"{BASE}, args: {{eps: 0.1}}", f"{BASE}, args: {{eps: 1e-1}}"),
        (f"{BASE}, args: {{momentum: 1}}", f"{BASE}, args: {{momentum: 1.0}}"),
        (f"{BASE}", f"{BASE}, args: {{num_features: 3, momentum: 0.1}}, dtype: float32, steps: [train]"),
        (f"{BASE}, dtype: float16", f"{BASE}, param_dtype: float16, dtype: {{half: float16}}"),
        (f"{BASE}, about: one", f"{BASE}, about: other, marks: [slow]"),
        (f"{BASE}, tolerance: {{output: {{rtol: 1}}}}", f"{BASE}, seed: 0, tolerance: {{output: {{rtol: 1.0}}}}"),
    ],
)
def test_what_computes_the_same_has_the_same_key(load: Callable[..., Any], left: str, right: str) -> None:
    assert key(load, left) == key(load, right)


@pytest.mark.parametrize(
    "fields",
    [
        "args: {affine: false}", "args: {momentum: null}", "args: {eps: 0}", "dtype: float64", "param_dtype: float64",
        "layout: strided", "grad_layout: strided", "requires_grad: false", "data: scaled", "params: default",
        "buffers: default", "steps: [eval]", "steps: [train, train]", "seed: 1", "robustness: true",
        "steps: [reset, train]", "optimizer: {lr: 0.1}",
        "raises: {type: E, match: m}", "tolerance: {output: {rtol: 0.1}}", "tolerance: {output: {atol: 0.1}}",
    ],
)  # fmt: skip
def test_each_field_that_matters_changes_the_key(load: Callable[..., Any], fields: str) -> None:
    assert key(load, f"{BASE}, {fields}") != key(load, BASE)


def test_where_a_tolerance_stands_does_not_change_the_key(load: Callable[..., Any]) -> None:
    text = "cases:\n  - {id: a, shape: [2, 3, 4, 5], tolerance: {output: {rtol: 0.1}}}\n"
    first, second = load(text).cases[0], load("\n\n" + text).cases[0]
    assert first.key == second.key
    assert first.tolerance["output"].origin == "a.yaml:4"
    assert second.tolerance["output"].origin == "a.yaml:6"


def test_the_key_is_the_same_for_every_process_and_release(load: Callable[..., Any]) -> None:
    """A pinned key: stored results hang on it, so a change here orphans them."""
    (case,) = load("cases: [{id: a, shape: [2, 3, 4, 5], args: {eps: 1e-3}, dtype: bfloat16}]\n").cases
    script = (
        "from pathlib import Path; from conformance.suite.loader import load_suite;"
        "print(load_suite([Path('a.yaml')]).cases[0].key)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_paths())
    assert shown.stdout.strip() == case.key == key_of_case(case) == "dda949b8a8d3"


def _paths() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_the_digest_names_a_set() -> None:
    assert digest_of(["a", "b"]) == digest_of(["b", "a"]) != digest_of(["a"])


def test_what_a_case_says_is_spelled_alike_for_equal_cases_and_apart_for_others(load: Callable[..., Any]) -> None:
    text = "cases:\n  - {id: a, shape: [2, 3, 4, 5], args: {eps: 1e-3}}\n"
    (case,), (alike,) = load(text).cases, load("\n" + text.replace("id: a", "id: b")).cases
    assert spelled(case) == spelled(alike) == spelled(case)
    turned = msgspec.structs.replace(case, args=dict(reversed(case.args.items())))
    assert spelled(turned) == spelled(case)
    described = {"id", "about", "group", "marks", "divergences", "origin"}
    other = {"key": "0" * 12, "op": "BatchNorm1d", "args": {}, "shape": (1,), "dtype": "float16", "seed": 5}
    for field, value in other.items():
        assert field not in described
        assert spelled(msgspec.structs.replace(case, **{field: value})) != spelled(case)
