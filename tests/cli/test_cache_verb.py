"""``conformance cache``."""

from __future__ import annotations

import pytest

from conformance.backends.export_cache import ExportCache
from conformance.pack_cache import PackCache


@pytest.fixture
def cache(tmp_path, monkeypatch) -> ExportCache:
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path))
    return ExportCache(tmp_path / "exports")


def test_the_help_says_what_each_verb_does_in_a_whole_sentence(call, cache):
    help_text = call("cache", "--help").out
    assert "..." not in help_text.partition("Commands:")[2]
    assert "info   Where the caches are and what they hold." in help_text


def test_info_says_where_and_how_much(call, cache):
    said = call("cache", "info").out
    assert "0 exports, 0.0 MiB" in said
    assert "0 reference results, 0.0 MiB" in said
    cache.put("ab" * 32, bytes(3 * 2**20))
    ended = call("cache", "info")
    assert ended.code == 0
    assert str(cache.folder) in ended.out
    assert "1 export, 3.0 MiB" in ended.out
    assert "unfinished" not in ended.out


def test_info_says_where_nothing_can_be_kept(call, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path / "taken" / "below"))
    said = call("cache", "info")
    assert said.code == 0
    assert said.out.startswith(
        f"nothing is kept: {tmp_path / 'taken'} is no folder; CONFORMANCE_CACHE_DIR names another"
    )
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path / "new" / "below"))
    assert "nothing is kept" not in call("cache", "info").out


def test_info_counts_what_was_not_finished(call, cache):
    cache.put("ab" * 32, b"x")
    (cache.folder / "ab" / "y.unfinished").write_bytes(b"half")
    assert "unfinished  1 files" in call("cache", "info").out


def test_clear_removes_everything_and_says_so(call, cache):
    cache.put("ab" * 32, b"x")
    ended = call("cache", "clear")
    assert (ended.code, "removed 1 export" in ended.out) == (0, True)
    assert "0 exports" in call("cache", "info").out


def test_an_unknown_verb_of_the_cache_is_a_usage_error(call, cache):
    assert call("cache", "burn").code == 4


@pytest.mark.parametrize(
    ("folder", "several", "one"),
    [
        ("references", "reference results", "reference result"),
        ("inputs", "sets of inputs", "set of inputs"),
        ("runs", "cases with their graphs", "case with its graphs"),
    ],
)
def test_what_is_kept_in_packs_is_counted_and_cleared_too(call, cache, folder, several, one):
    kept = PackCache(cache.folder.parent / folder, 1 << 30)
    assert f"0 {several}, 0.0 MiB" in call("cache", "info").out
    kept.put("ab" * 32, bytes(2**20))
    assert f"1 {one}, 1.0 MiB" in call("cache", "info").out
    assert f"removed 1 {one}, 1.0 MiB" in call("cache", "clear").out
    assert kept.contents().entries == 0
