from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.suite import pairwise
from conformance.suite.pairwise import Row, TooEntangled, cover, pair_count

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def pairs(rows: list[Row]) -> set[tuple[int, int, int, int]]:
    return {(i, row[i], j, row[j]) for row in rows for i, j in combinations(range(len(row)), 2)}


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(SIZES)
def test_every_pair_is_covered(sizes: list[int]) -> None:
    rows = cover(sizes, lambda row: True)
    assert len(pairs(rows)) == pair_count(sizes)
    assert len(set(rows)) == len(rows)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(SIZES, st.randoms(use_true_random=False))
def test_with_refusals_every_pair_that_an_allowed_row_can_hold_is_covered(sizes: list[int], random: object) -> None:
    everything = list(product(*map(range, sizes)))
    allowed = {row for row in everything if random.random() < 0.5}
    rows = cover(sizes, lambda row: len(row) < len(sizes) or row in allowed)
    assert set(rows) <= allowed
    assert pairs(rows) == pairs(list(allowed))


def test_the_rows_are_always_the_same() -> None:
    assert cover([3, 4, 2, 3], lambda row: True) == cover([3, 4, 2, 3], lambda row: True)


def test_a_cover_is_far_smaller_than_the_product() -> None:
    assert len(cover([4, 4, 3, 4], lambda row: True)) <= 20
    assert len(cover([2] * 15, lambda row: True)) <= 12


def test_one_axis_is_listed() -> None:
    assert cover([3], lambda row: row != (1,)) == [(0,), (2,)]
    assert cover([], lambda row: True) == [()]


def test_a_hopeless_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise, "_TRIES", 1_000)
    with pytest.raises(TooEntangled):
        cover([6] * 8, lambda row: len(row) < 8)
