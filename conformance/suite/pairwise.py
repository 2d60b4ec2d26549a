"""A small set of combinations in which every possible pair of values of two axes occurs.

Greedy, one row at a time, as in AETG (Cohen et al., 1997), without its randomness: the first pair that is missing is
fixed, and every other axis takes the value that brings most missing pairs.  Rows that ``allowed`` refuses are avoided
by going back, so no pair is lost that some allowed row can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    missing = _Missing.of(sizes)
    rows = []
    for left, right in combinations(range(len(sizes)), 2):
        for first, second in product(range(sizes[left]), range(sizes[right])):
            if missing.lacks(left, first, right, second):
                row = _row_with({left: first, right: second}, sizes, allowed, missing)
                if row is not None:
                    rows.append(row)
                    missing.remove(row)
    return rows


def pair_count(sizes: Sequence[int]) -> int:
    """How many pairs there are to cover."""
    return sum(left * right for left, right in combinations(sizes, 2))


@dataclass(slots=True)
class _Missing:
    """The pairs that no row has yet; ``partners[axis][value][other]`` is a bit mask of the values of ``other``."""

    partners: list[list[list[int]]]

    @classmethod
    def of(cls, sizes: Sequence[int]) -> _Missing:
        full = [(1 << size) - 1 for size in sizes]
        return cls([
            [[0 if other == axis else mask for other, mask in enumerate(full)] for _ in range(size)]
            for axis, size in enumerate(sizes)
        ])  # fmt: skip

    def lacks(self, axis: int, value: int, other: int, partner: int) -> bool:
        return bool(self.partners[axis][value][other] >> partner & 1)

    def remove(self, row: Row) -> None:
        for axis, value in enumerate(row):
            masks = self.partners[axis][value]
            for other, partner in enumerate(row):
                masks[other] &= ~(1 << partner)

    def by_gain(self, axis: int, size: int, chosen: Sequence[tuple[int, int]]) -> list[int]:
        """The values of an axis, worst first: by missing pairs with what is chosen, then by all missing pairs."""
        scores = []
        for value, masks in enumerate(self.partners[axis]):
            gain = sum(masks[other] >> partner & 1 for other, partner in chosen)
            scores.append((gain, sum(mask.bit_count() for mask in masks), -value))
        return sorted(range(size), key=scores.__getitem__)


def _row_with(
    fixed: dict[int, int], sizes: Sequence[int], allowed: Callable[[Row], bool], missing: _Missing
) -> Row | None:
    """An allowed row with the fixed values and, axis by axis, those that gain most; None where there is none."""
    stack: list[Row] = [()]
    for _ in range(_TRIES):
        if not stack:
            return None
        row = stack.pop()
        if row and not allowed(row):
            continue
        axis = len(row)
        if axis == len(sizes):
            return row
        if axis in fixed:
            stack.append((*row, fixed[axis]))
        else:
            chosen = [*enumerate(row), *(item for item in fixed.items() if item[0] > axis)]
            stack.extend((*row, value) for value in missing.by_gain(axis, sizes[axis], chosen))
    return None
