"""The JSON Schema of case files, generated from the structs and the ops, for editors to complete and check.

Run as ``python -m conformance.suite.json_schema`` to write the committed file anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from conformance.ops import OPS, Argument
from conformance.suite.data_families import DATA
from conformance.suite.schema import AXES, CaseFile, Name

SCHEMA_FILE = Path(__file__).with_name("case-v1.json")
_KINDS: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "null": {"type": "null"},
    "ints": {"type": "array", "items": {"type": "integer"}},
    "last": {
        "type": "object", "properties": {"last": {"type": "integer", "minimum": 0, "maximum": 8}},
        "required": ["last"], "additionalProperties": False,
    },
}  # fmt: skip


def case_file_schema() -> dict[str, Any]:
    """The JSON Schema of a case file, with the arguments of each op."""
    schema = msgspec.json.schema(CaseFile)
    definitions: dict[str, Any] = schema["$defs"]
    file = definitions["CaseFile"]
    for name in ("Fields", "GroupFields", "ExplicitEntry"):
        properties = definitions[name]["properties"]
        properties["data"] = _values({"enum": list(DATA)}) | {"description": properties["data"]["description"]}
        if "op" in properties:
            properties["op"] |= {"enum": list(OPS)}
    file["properties"]["op"] |= {"enum": list(OPS)}
    vary = definitions["GroupEntry"]["properties"]["vary"]
    vary["properties"] = {axis: _several(_axis_schema(axis)) for axis in AXES}
    vary["patternProperties"] = {r"^args\.": vary["additionalProperties"]}
    vary["additionalProperties"] = False
    for op in OPS.values():
        arguments = {argument.name: _argument(argument) for argument in op.arguments}
        definitions[f"args.{op.name}"] = {"type": "object", "properties": arguments, "additionalProperties": False}
        names = {f"args.{name}": _several(each) for name, each in arguments.items()}
        definitions[f"vary.{op.name}"] = {"properties": names}
    for name in ("GroupFields", "ExplicitEntry"):
        definitions[name]["allOf"] = [_if_op(op, {"args": _ref(f"args.{op}")}) for op in OPS]
    definitions["GroupEntry"]["allOf"] = [_if_set_op(op) for op in OPS]
    file["allOf"] = [_if_file_op(op) for op in OPS]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "case-v1.json",
        "title": "conformance case file, version 1",
    } | schema


def schema_text() -> str:
    """The text of the committed file."""
    return json.dumps(case_file_schema(), indent=1) + "\n"


def _axis_schema(axis: str) -> dict[str, Any]:
    if axis == "data":
        return {"enum": list(DATA)}
    return {name: value for name, value in msgspec.json.schema(AXES[axis]).items() if name != "$defs"}


def _argument(argument: Argument) -> dict[str, Any]:
    kinds = [_KINDS.get(kind, {"const": kind}) for kind in argument.kinds]
    described = {"description": argument.about} if argument.about else {}
    return (kinds[0] if len(kinds) == 1 else {"anyOf": kinds}) | described | {"default": argument.default}


def _labels() -> dict[str, Any]:
    return {name: value for name, value in msgspec.json.schema(Name).items() if name != "type"}


def _values(one: dict[str, Any]) -> dict[str, Any]:
    """A value, or a mapping of one label to it."""
    mapping = {"type": "object", "propertyNames": _labels(), "additionalProperties": one}
    return {"anyOf": [one, mapping | {"minProperties": 1, "maxProperties": 1}]}


def _several(one: dict[str, Any]) -> dict[str, Any]:
    """A list of values, or a mapping of labels to values."""
    mapping = {"type": "object", "propertyNames": _labels(), "additionalProperties": one, "minProperties": 1}
    return {"anyOf": [{"type": "array", "items": one, "minItems": 1}, mapping]}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _says_op(op: str) -> dict[str, Any]:
    return {"properties": {"op": {"const": op}}, "required": ["op"]}


def _if_op(op: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"if": _says_op(op), "then": {"properties": properties}}


def _if_set_op(op: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"set": _says_op(op)}, "required": ["set"]},
        "then": {"properties": {"vary": _ref(f"vary.{op}"), "rules": _rules(op)}},
    }


def _if_file_op(op: str) -> dict[str, Any]:
    """Arguments of the file's op wherever no other op is named."""
    args = {"properties": {"args": _ref(f"args.{op}")}}
    group = {"properties": {"set": args, "vary": _ref(f"vary.{op}"), "rules": _rules(op)}}
    inherits = {"not": {"properties": {"set": {"required": ["op"]}}, "required": ["set"]}}
    return _if_op(op, {
        "defaults": args,
        "groups": {"items": {"if": inherits, "then": group}},
        "cases": {"items": {"if": {"not": {"required": ["op"]}}, "then": args}},
    })  # fmt: skip


def _rules(op: str) -> dict[str, Any]:
    return {"items": {"properties": {"set": {"properties": {"args": _ref(f"args.{op}")}}}}}


def main(arguments: Iterable[str] = ()) -> None:
    """Write the schema where it is committed."""
    del arguments
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
