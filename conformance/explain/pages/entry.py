"""What the page of a mistake holds that cannot be computed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MistakePage:
    """The words of one mistake's page; its numbers are computed when it is shown.

    right, wrong: the formula and the mistaken one, each on one line, in the symbols of the references: m and v are
        mean and biased variance, s = 1 / sqrt(v + eps), xh = s (x - m), gy the upstream gradient, n the values of one
        statistic.
    met: where people meet it, in short sentences that are true and can be looked up; no guesses.
    """

    right: str
    wrong: str
    met: str
