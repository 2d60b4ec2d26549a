"""A small set of combinations in which every possible pair of values of two axes occurs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product

Row = tuple[int, ...]
Pair = tuple[int, int, int, int]  # axis, value, later axis, value
_TRIES = 20_000


def cover(sizes: Sequence[int], allowed: Callable[[Row], bool]) -> list[Row]:
    """Rows of value numbers, one per axis, that cover every pair which an allowed row can hold.

    ``allowed`` is also asked of the beginnings of rows; it says no only where no allowed row begins so.
    The same arguments always give the same rows.
    """
    if len(sizes) < 2:
        return [row for row in product(*map(range, sizes)) if allowed(row)]
    from allpairspy import AllPairs

    rows = [
        tuple(row)
        for row in AllPairs([list(range(size)) for size in sizes], filter_func=lambda row: allowed(tuple(row)))
    ]
    # allpairspy stops at the first row that brings nothing new, which with a filter can be too early
    covered = {pair for row in rows for pair in _pairs(row)}
    for pair in _all_pairs(sizes):
        if pair not in covered and (row := _row_with(pair, sizes, allowed)) is not None:
            rows.append(row)
            covered.update(_pairs(row))
    return rows


def pair_count(sizes: Sequence[int]) -> int:
    """How many pairs there are to cover."""
    return sum(left * right for left, right in combinations(sizes, 2))


def _pairs(row: Row) -> Iterator[Pair]:
    for left, right in combinations(range(len(row)), 2):
        yield left, row[left], right, row[right]


def _all_pairs(sizes: Sequence[int]) -> Iterator[Pair]:
    for left, right in combinations(range(len(sizes)), 2):
        for first, second in product(range(sizes[left]), range(sizes[right])):
            yield left, first, right, second


def _row_with(pair: Pair, sizes: Sequence[int], allowed: Callable[[Row], bool]) -> Row | None:
    """The first allowed row that holds the pair, found by trying values axis by axis."""
    fixed = {pair[0]: pair[1], pair[2]: pair[3]}
    tries = 0
    stack: list[Row] = [()]
    while stack and tries < _TRIES:
        row = stack.pop()
        tries += 1
        if row and not allowed(row):
            continue
        axis = len(row)
        if axis == len(sizes):
            return row
        values = [fixed[axis]] if axis in fixed else range(sizes[axis])
        stack.extend((*row, value) for value in reversed(values))
    return None
