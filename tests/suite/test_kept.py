"""Expanded suites on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.suite import kept as module
from conformance.suite.kept import kept
from conformance.suite.loader import case_files, expand_files, shipped_cases


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(tmp_path: Path) -> list[Path]:
    copies = []
    chosen = [file for file in case_files([shipped_cases()]) if file.name.startswith("batch_norm")]
    for file in chosen[:2]:
        copies.append(tmp_path / file.name)
        copies[-1].write_bytes(file.read_bytes())
    return copies


def forbidden(_: object) -> None:
    raise AssertionError("expanded again")


def test_the_second_reading_is_the_first(tmp_path: Path) -> None:
    mine = files(tmp_path)
    first = kept(mine, expand_files)
    assert kept(mine, forbidden) == first == expand_files(mine)


def test_a_changed_file_is_expanded_anew(tmp_path: Path) -> None:
    mine = files(tmp_path)
    before = kept(mine, expand_files)
    mine[0].write_text(mine[0].read_text().replace("momentum: 0.1", "momentum: 0.2"))
    assert kept(mine, expand_files).digest != before.digest


@pytest.mark.parametrize("damage", [b"", b"\x00", b"half"])
def test_what_cannot_be_read_back_is_expanded_anew(tmp_path: Path, own_cache: Path, damage: bytes) -> None:
    mine = files(tmp_path)
    first = kept(mine, expand_files)
    (place,) = (own_cache / "suites").iterdir()
    place.write_bytes(damage and place.read_bytes()[:-7] + damage)
    assert kept(mine, expand_files) == first


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, own_cache: Path) -> None:
    own_cache.write_text("a file where the folder should be")
    mine = files(tmp_path)
    assert kept(mine, expand_files) == expand_files(mine)


def test_only_the_newest_suites_stay(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    mine = files(tmp_path)
    for number in range(4):
        mine[0].write_text(mine[0].read_text() + f"# {number}\n")
        kept(mine, expand_files)
        for place in (own_cache / "suites").iterdir():
            os.utime(place, (number, number))
    assert len(list((own_cache / "suites").iterdir())) == 2
