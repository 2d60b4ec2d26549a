"""A small set of combinations in which every possible pair of values of two axes occurs.

Greedy, one row at a time, as in AETG (Cohen et al., 1997), without its randomness: the first pair that is missing is
fixed, and every other axis takes the value that brings most missing pairs.  Rows that ``allowed`` refuses are avoided
by going back, so no pair is lost that some allowed row can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, count, product

Row = tuple[int, ...]
Pair = tuple[int, int, int, int]  # axis, value, later axis, value
_TRIES = 200_000


class TooEntangled(Exception):  # noqa: N818 - becomes a problem with a place
    """What ``allowed`` refuses leaves so few rows that finding them takes too long."""


def cover(sizes: Sequence[int], allowed: Callable[[Row], bool]) -> list[Row]:
    """Rows of value numbers, one per axis, that cover every pair which an allowed row can hold.

    ``allowed`` is also asked of the beginnings of rows; it says no only where no allowed row begins so.
    The same arguments always give the same rows.

    Raises:
        TooEntangled: where ``allowed`` refuses so much that going back takes too long.
    """
    if len(sizes) < 2:
        return [row for row in product(*map(range, sizes)) if allowed(row)]
    missing = _Missing.of(sizes)
    tries = count(1)
    rows = []
    for left, right in combinations(range(len(sizes)), 2):
        for first, second in product(range(sizes[left]), range(sizes[right])):
            if missing.lacks(left, first, right, second):
                row = _row_with({left: first, right: second}, sizes, allowed, missing, tries)
                if row is not None:
                    rows.append(row)
                    missing.remove(row)
    return rows


def pair_count(sizes: Sequence[int]) -> int:
    """How many pairs there are to cover."""
    return sum(left * right for left, right in combinations(sizes, 2))


@dataclass(slots=True)
class _Missing:
    """The pairs that no row has yet, as bit masks: a bit per value of every axis, axis after axis.

    ``partners[axis][value]`` has the bit of each value of another axis with which no row has it yet.
    """

    offsets: list[int]
    partners: list[list[int]]

    @classmethod
    def of(cls, sizes: Sequence[int]) -> _Missing:
        offsets = list(accumulate(sizes, initial=0))
        everything = (1 << offsets[-1]) - 1
        others = [everything & ~(((1 << size) - 1) << offset) for size, offset in zip(sizes, offsets, strict=False)]
        return cls(offsets, [[mask] * size for size, mask in zip(sizes, others, strict=True)])

    def bit(self, axis: int, value: int) -> int:
        return 1 << (self.offsets[axis] + value)

    def lacks(self, axis: int, value: int, other: int, partner: int) -> bool:
        return bool(self.partners[axis][value] & self.bit(other, partner))

    def remove(self, row: Row) -> None:
        kept = ~sum(self.bit(axis, value) for axis, value in enumerate(row))
        for axis, value in enumerate(row):
            self.partners[axis][value] &= kept

    def by_gain(self, axis: int, chosen: int) -> list[int]:
        """The values of an axis, worst first: by missing pairs with what is chosen, then by all missing pairs."""
        scores = [
            ((mask & chosen).bit_count(), mask.bit_count(), -value) for value, mask in enumerate(self.partners[axis])
        ]
        return [-value for _, _, value in sorted(scores)]


def _row_with(
    fixed: dict[int, int],
    sizes: Sequence[int],
    allowed: Callable[[Row], bool],
    missing: _Missing,
    tries: Iterator[int],
) -> Row | None:
    """An allowed row with the fixed values and, axis by axis, those that gain most; None where there is none."""
    stack: list[Row] = [()]
    while stack:
        if next(tries) > _TRIES:
            raise TooEntangled
        row = stack.pop()
        if row and not allowed(row):
            continue
        axis = len(row)
        if axis == len(sizes):
            return row
        if axis in fixed:
            stack.append((*row, fixed[axis]))
        else:
            chosen = sum(missing.bit(*item) for item in enumerate(row))
            chosen |= sum(missing.bit(*item) for item in fixed.items())
            stack.extend((*row, value) for value in missing.by_gain(axis, chosen))
    return None
