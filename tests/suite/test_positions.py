from __future__ import annotations

import math

import pytest
import yaml

from conformance.suite import positions
from conformance.suite.positions import parse
from conformance.suite.problems import CaseFileError


def refusal(text: str) -> str:
    with pytest.raises(CaseFileError) as caught:
        parse(text, "x.yaml")
    (problem,) = caught.value.problems
    return f"{problem.line}:{problem.col} {problem.message}"


def test_every_node_knows_its_line_and_column() -> None:
    document = parse("a: 1\nb:\n  - x\n  - {c: 2}\n", "x.yaml")
    assert document.value == {"a": 1, "b": ["x", {"c": 2}]}
    assert document.mark(("a",)) == (1, 4)
    assert document.mark(("b", 0)) == (3, 5)
    assert document.mark(("b", 1, "c")) == (4, 9)
    assert document.mark(("b", 1, "c"), key=True) == (4, 6)


def test_a_path_without_a_node_stands_where_its_nearest_ancestor_stands() -> None:
    assert parse("a:\n  b: 1\n", "x.yaml").mark(("a", "zz", 3)) == (2, 3)


def test_the_parser_without_libyaml_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [1, 'two', \"3\"]\nb: {c: off, d: ~}\n"
    expected = parse(text, "x.yaml")
    monkeypatch.setattr(positions, "_LOADER", yaml.BaseLoader)
    assert parse(text, "x.yaml") == expected


def test_quoted_scalars_are_text() -> None:
    assert parse("['1', \"true\", '']", "x.yaml").value == ["1", "true", ""]


def test_keys_are_their_text() -> None:
    assert list(parse("{0.1: a, null: b, true: c}", "x.yaml").value) == ["0.1", "null", "true"]


def test_duplicate_keys_are_refused() -> None:
    assert refusal("a: 1\nb: 2\na: 3\n") == "3:1 duplicate key 'a'; it stands on line 1 already"


def test_anchors_and_aliases_are_refused() -> None:
    assert refusal("a: &x 1\n").startswith("1:4 anchor &x")
    assert refusal("a: *x\n").startswith("1:4 alias *x")


def test_a_billion_laughs_are_refused_at_the_first() -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert refusal(laughs).startswith("1:5 anchor &a0")


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!int", "!own", "!"])
def test_tags_are_refused(tag: str) -> None:
    assert refusal(f"a: {tag} '1'\n").startswith("1:4 tag ")


def test_a_second_document_is_refused() -> None:
    assert refusal("a: 1\n---\nb: 2\n").startswith("2:1 a second document begins")


def test_tabs_are_named() -> None:
    assert refusal("a:\n\tb: 1\n") == "2:1 a tab; indent with spaces"


def test_nul_bytes_and_byte_order_marks_are_named() -> None:
    assert refusal("a: 1\nb: \0\n") == "2:4 a NUL byte"
    assert refusal("\ufeffa: 1\n").startswith("1:1 a byte order mark")


def test_control_characters_are_refused_where_they_stand() -> None:
    assert refusal("a: x\x1by\n") == "1:5 a character that YAML forbids, U+001B"


@pytest.mark.parametrize("nested", ["[" * 200_000, "{a: " * 100_000, "- " * 100_000, "[" * 40 + "]" * 40])
def test_deep_nesting_is_refused_at_once(nested: str) -> None:
    assert "nested more than 32 deep" in refusal(nested)


def test_too_many_nodes_are_refused() -> None:
    assert "more than 100,000 nodes" in refusal("[" + "1," * 100_001 + "]")


def test_collections_as_keys_are_refused() -> None:
    assert "a key must be text" in refusal("{a: 1, [1, 2]: 3}")


def test_broken_yaml_says_where() -> None:
    assert refusal("a: [1,\n").startswith("2:1 not YAML: ")
    assert refusal("a: 1\n b: 2\n").startswith("2:3 not YAML: ")


def test_numbers_that_do_not_fit_are_refused() -> None:
    assert "too large for an int64" in refusal("a: 9223372036854775808")
    assert "too large for an int64" in refusal("a: " + "9" * 5000)
    assert "too large for a float64" in refusal("a: 1e999")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5), ("1.5E+3", 1500.0), (".5", 0.5), ("3.", 3.0), ("-0", 0), ("+12", 12), ("0o17", 15),
        ("0x1f", 31), (".inf", math.inf), ("-.INF", -math.inf), ("null", None), ("~", None), ("True", True),
        ("FALSE", False), ("off", "off"), ("yes", "yes"), ("on", "on"), ("No", "No"), ("0b11", "0b11"),
        ("1_000", "1_000"), ("12:30", "12:30"), ("2001-01-01", "2001-01-01"), ("=", "="), ("<<", "<<"), ("1e", "1e"),
        ("nan", "nan"), ("0x", "0x"), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    found = parse(f"[{text}]", "x.yaml").value[0]
    assert found == value
    assert type(found) is type(value)


def test_dot_nan_is_a_number() -> None:
    assert math.isnan(parse("[.NaN]", "x.yaml").value[0])


def test_nothing_is_null() -> None:
    assert parse("a:\n", "x.yaml").value == {"a": None}
    assert parse("", "x.yaml").value is None
