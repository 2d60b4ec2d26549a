"""Hostile or mistyped input: a clear error of a usage mistake, in bounded time, and never a traceback."""

from __future__ import annotations

import os
import time

import pytest

from conformance.cli.command import invoke

HEAD = "spec: 1\nop: BatchNorm2d\nabout: Hostile.\n"
GROUP = "groups:\n  - id: g\n"
MANY = ", ".join(f"s{number}: {number}" for number in range(1000))
HOSTILE = {
    "a shape beyond all memory": HEAD + "defaults: {shape: [4, 3, 1000000, 1000000]}\n" + GROUP,
    "a size beyond 64 bits": HEAD + f"defaults: {{shape: [4, 3, {'9' * 400}]}}\n" + GROUP,
    "a billion cases": HEAD
    + "defaults: {shape: [4, 3, 5, 6]}\n"
    + GROUP
    + f"    vary:\n      seed: {{{MANY}}}\n      args.eps: {{{MANY}}}\n      args.momentum: {{{MANY}}}\n",
    "deep nesting": HEAD + "defaults: " + "[" * 100_000,
    "deep mappings": HEAD + "defaults: " + "{a: " * 50_000,
    "a billion laughs": "a: &a [lol, lol]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(50)),
    "a number of a million digits": HEAD + "defaults: {seed: " + "9" * 1_000_000 + "}\n" + GROUP,
    "a tag that would make an object": HEAD + "defaults: !!python/object/apply:os.system [echo pwned]\n",
    "a name with a newline": HEAD + 'defaults: {shape: [4, 3, 5, 6]}\ngroups:\n  - id: "a\\nb"\n',
    "a name with escape codes": HEAD + 'defaults: {shape: [4, 3, 5, 6]}\ngroups:\n  - id: "\\e[31mred"\n',
    "nothing": "",
    "a list": "- 1\n- 2\n",
}
BYTES = {
    "latin-1": (HEAD + "defaults: {data: \xe9}\n").encode("latin-1"),
    "utf-16": (HEAD + GROUP).encode("utf-16"),
    "zeros": bytes(100_000),
    "noise": bytes(range(256)) * 100,
}
SECONDS = 10.0


def refused(path, capsys) -> str:
    """What is said of a path, in bounded time of the processor."""
    start = time.process_time()
    code = invoke(["run", str(path), "--backend", "torch-cpu", "--in-process"])
    said = capsys.readouterr()
    assert time.process_time() - start < SECONDS
    assert code in (4, 5), said
    assert "Traceback" not in said.err
    assert "pwned" not in said.out
    assert "\x1b" not in said.err
    return said.err


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_and_named_by_file(tmp_path, capsys, name):
    file = tmp_path / "hostile.yaml"
    file.write_text(HOSTILE[name], encoding="utf-8")
    assert "hostile.yaml" in refused(file, capsys)


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_text_are_refused_and_named_by_file(tmp_path, capsys, name):
    file = tmp_path / "hostile.yaml"
    file.write_bytes(BYTES[name])
    assert "hostile.yaml" in refused(file, capsys)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="missing: /dev/zero")  # noqa: PTH110 - a device, not a path
def test_a_link_to_an_endless_file_is_refused(tmp_path, capsys):
    link = tmp_path / "endless.yaml"
    link.symlink_to("/dev/zero")
    assert "endless.yaml" in refused(link, capsys)


def test_a_pipe_that_nobody_writes_to_does_not_hang(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "pipe.yaml" in refused(tmp_path / "pipe.yaml", capsys)


def test_a_file_whose_name_holds_a_newline_can_be_named(tmp_path, capsys):
    file = tmp_path / "two\nlines.yaml"
    file.write_text("- no case file\n", encoding="utf-8")
    assert "lines.yaml" in refused(file, capsys)
