"""Expanded suites on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.suite import kept as module
from conformance.suite.kept import kept
from conformance.suite.loader import case_files, expand_files, shipped_cases
from conformance.suite.problems import CaseFileError


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


@pytest.mark.parametrize("folder", ["suite", "ops"])
def test_what_other_code_expanded_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    package = tmp_path / "conformance"
    for name in ("suite", "ops"):
        (package / name).mkdir(parents=True)
        (package / name / "one.py").write_text("a = 1\n")
    monkeypatch.setattr(module, "__file__", str(package / "suite" / "kept.py"))
    mine = files(tmp_path)
    before = kept(mine, expand_files)
    (package / folder / "notes.txt").write_text("no code")
    assert kept(mine, forbidden) == before
    (package / folder / "one.py").write_text("a = 12\n")
    with pytest.raises(AssertionError, match="expanded again"):
        kept(mine, forbidden)


@pytest.mark.parametrize(("least", "most", "keeps"), [(10, 1 << 20, True), (1 << 20, 2 << 20, False), (10, 100, False)])
def test_what_is_too_small_or_too_large_to_be_worth_it_is_not_kept(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, least: int, most: int, keeps: object
) -> None:
    monkeypatch.setattr(module, "SMALL", least)
    monkeypatch.setattr(module, "LARGE", most)
    kept(files(tmp_path), expand_files)
    assert own_cache.exists() == keeps


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_left_to_the_loader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(CaseFileError, match="not a file"):
        kept([*files(tmp_path), tmp_path / "pipe.yaml"], expand_files)
