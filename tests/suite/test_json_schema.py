from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conformance.suite.json_schema import SCHEMA_FILE, case_file_schema, schema_text
from conformance.suite.positions import parse

HEAD = {"spec": 1, "op": "BatchNorm2d"}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(case_file_schema())
    return Draft202012Validator(case_file_schema())


def test_the_committed_schema_is_current() -> None:
    """Where this fails: python -m conformance.suite.json_schema."""
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()
    assert json.loads(schema_text()) == case_file_schema()


def test_the_shipped_case_files_name_the_schema_and_meet_it(validator: Draft202012Validator) -> None:
    checkout = Path(__file__).parents[2]
    files = sorted((checkout / "cases").rglob("*.yaml"))
    assert len(files) >= 10
    for file in files:
        text = file.read_text(encoding="utf-8")
        named = Path(text.splitlines()[0].removeprefix("# yaml-language-server: $schema="))
        assert (file.parent / named).resolve() == checkout / "conformance" / "suite" / SCHEMA_FILE.name
        assert [error.message for error in validator.iter_errors(parse(text, file.name).value)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"op": "BatchNorm4d"},
        {"defaults": {"args": {"moment": 1}}},
        {"defaults": {"args": {"affine": "yes"}}},
        {"defaults": {"data": "code"}},
        {"groups": [{"id": "g", "vary": {"args.moment": [1]}, "set": {"args": {"moment": 1}}}]},
        {"groups": [{"id": "g", "vary": {"args.affine": ["yes"]}}]},
        {"groups": [{"id": "g", "vary": {"shapes": [[1]]}}]},
        {"groups": [{"id": "g", "vary": {"shape": [[-1]]}}]},
        {"groups": [{"id": "g", "rules": [{"when": {"dtype": "float32"}, "set": {"args": {"moment": 1}}}]}]},
        {"groups": [{"id": "g", "set": {"op": "LayerNorm", "args": {"affine": True}}}]},
        {"cases": [{"id": "c", "args": {"normalized_shape": 3}}]},
        {"cases": [{"id": "c", "op": "LayerNorm", "args": {"momentum": 0.1}}]},
    ],
)
def test_editors_see_what_the_loader_refuses(validator: Draft202012Validator, wrong: dict[str, Any]) -> None:
    assert list(validator.iter_errors({**HEAD, **wrong}))


@pytest.mark.parametrize(
    "right",
    [
        {"defaults": {"args": {"momentum": None, "eps": 1}, "shape": {"small": [1, 2, 3, 4]}}},
        {"groups": [{"id": "g", "set": {"op": "LayerNorm", "args": {"normalized_shape": {"last": 2}}}}]},
        {"groups": [{"id": "g", "vary": {"args.momentum": {"m": 0.1, "n": None}, "param_dtype": [None, "float32"]}}]},
        {"cases": [{"id": "c", "op": "GroupNorm", "args": {"num_groups": "channels"}}]},
    ],
)
def test_editors_accept_what_the_loader_accepts(validator: Draft202012Validator, right: dict[str, Any]) -> None:
    assert not list(validator.iter_errors({**HEAD, **right}))
