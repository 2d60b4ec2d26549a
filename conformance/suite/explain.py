"""All mistakes of a file that the structs refuse, each where it stands and in words for people.

msgspec stops at the first mistake; jsonschema, imported only then, finds all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from conformance.suite.arguments import truth_hint
from conformance.suite.positions import Document
from conformance.suite.problems import Path, Problem, show, unknown
from conformance.suite.schema import CaseFile

_KINDS = {
    "array": "a list",
    "object": "a mapping",
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_NOUNS = {
    "dtype": "dtype", "param_dtype": "dtype", "layout": "layout", "grad_layout": "layout", "steps": "mode",
    "params": "kind of parameters", "buffers": "kind of buffers", "combine": "way to combine",
    "precision": "precision class", "spec": "version of the format",
}  # fmt: skip


def schema_problems(document: Document, error: msgspec.ValidationError) -> list[Problem]:
    """Every mistake of a file that failed to decode with ``error``."""
    found = misfits(document, document.value, (), CaseFile)
    return found or [document.problem((), str(error))]


def misfits(document: Document, value: Any, path: Path, kind: Any) -> list[Problem]:
    """Every way in which ``value``, which stands at ``path``, is no ``kind``."""
    validator = _validator(kind)
    errors = sorted(validator.iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path])
    return [problem for error in errors for problem in _problems(document, error, path)]


@lru_cache(maxsize=32)
def _validator(kind: Any) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    strict = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict_validator: Any = extend
    return strict_validator(Draft202012Validator, type_checker=strict)(msgspec.json.schema(kind))


def _problems(document: Document, error: Any, base: Path) -> Iterator[Problem]:
    path = (*base, *error.absolute_path)
    branch = _branch(error) if error.validator == "anyOf" else []
    if branch:
        for inner in branch:
            yield from _problems(document, inner, base)
    elif error.validator == "additionalProperties":
        known = tuple(error.schema.get("properties", ()))
        for key in error.instance:
            if key not in known:
                yield document.problem((*path, key), unknown("field", key, known), key=True, shown=path)
    elif error.validator == "required":
        name = next(each for each in error.validator_value if error.message.startswith(repr(each)))
        yield document.problem(path, f"'{name}' is missing")
    elif "propertyNames" in error.absolute_schema_path:
        message = f"{show(error.instance)} is no label; letters, digits and . _ + - make one, at most 80"
        yield document.problem((*path, str(error.instance)), message, key=True, shown=path)
    else:
        yield document.problem(path, _words(error, path))


def _branch(error: Any) -> list[Any]:
    """The errors of the one alternative whose kind fits, so that [1, -1] is told of its -1."""
    branches: dict[Any, list[Any]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    at = len(error.absolute_path)
    fitting = [
        errors
        for errors in branches.values()
        if not any(len(each.absolute_path) == at and each.validator in ("type", "enum", "const") for each in errors)
    ]
    if len(fitting) == 1:
        return fitting[0]
    enums = [
        errors
        for errors in branches.values()
        if isinstance(error.instance, str) and any(each.validator == "enum" for each in errors)
    ]
    return enums[0] if len(enums) == 1 else []


def _words(error: Any, path: Path) -> str:
    value, wanted = error.instance, error.validator_value
    noun = next((_NOUNS[part] for part in reversed(path) if isinstance(part, str) and part in _NOUNS), "value")
    match error.validator:
        case "type" | "anyOf":
            kinds = _kinds(error)
            words = f"expected {' or '.join(kinds)}, not {show(value)}{truth_hint(value, 'true or false' in kinds)}"
        case "enum" if isinstance(value, str):
            words = unknown(noun, value, [str(each) for each in wanted])
        case "enum" | "const":
            choices = wanted if isinstance(wanted, list) else [wanted]
            words = f"{show(value)}: expected {' or '.join(map(show, choices))}"
        case "minimum" if wanted == 0:
            words = f"{show(value)} must not be negative"
        case "minimum" | "exclusiveMinimum" | "maximum":
            bound = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}[error.validator]
            words = f"{show(value)} must be {bound} {wanted}"
        case "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minLength" | "maxLength":
            words = _length(error)
        case "pattern":
            words = f"{show(value)} has characters that are not allowed here"
        case _:
            words = f"{show(value)}: {show(error.message)}"
    return words


def _length(error: Any) -> str:
    limit, value = error.validator_value, error.instance
    unit = "characters" if isinstance(value, str) else "entries"
    bound = "at least" if error.validator.startswith("min") else "at most"
    if error.validator == "maxProperties" and limit == 1:
        return "expected one {label: value}; several values belong in the vary of a group"
    return f"{len(value)} {unit} where {bound} {limit} {'is' if limit == 1 else 'are'} expected"


def _kinds(error: Any) -> list[str]:
    if error.validator == "type":
        wanted = error.validator_value
        return [_KINDS[kind] for kind in (wanted if isinstance(wanted, list) else [wanted])]
    kinds = []
    for inner in error.context:
        if inner.validator == "type" and len(inner.absolute_path) == len(error.absolute_path):
            kinds.append(_KINDS[inner.validator_value])
        elif inner.validator == "enum":
            kinds.append("one of " + ", ".join(map(str, inner.validator_value)))
    return list(dict.fromkeys(kinds)) or ["something else"]
