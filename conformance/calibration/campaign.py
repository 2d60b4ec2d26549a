"""The campaign: configuration after configuration, in several processes, until enough executions were judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from multiprocessing import get_context

from conformance.calibration.examine import examine
from conformance.calibration.outcome import Outcome
from conformance.calibration.tally import Tally

FULL = 262_144
QUICK = 8_192
_CHUNK = 8


def campaign(
    executions: int, *, seed: int = 1, workers: int = 1, progress: Callable[[int], None] = lambda _: None
) -> Tally:
    """Judge at least this many executions of correct implementations.

    The result depends on ``executions`` and ``seed`` alone: configurations are added in their order, whichever process
    examined them.
    """
    tally = Tally()
    for outcomes in _examined(seed, workers):
        tally.add(outcomes)
        progress(tally.runs)
        if tally.runs >= executions:
            break
    return tally


def _examined(seed: int, workers: int) -> Iterator[list[Outcome]]:
    examination = partial(examine, seed)
    if workers == 1:
        yield from map(examination, count())
        return
    with get_context("spawn").Pool(workers) as pool:  # a forked torch may hang
        for start in count(0, _CHUNK * workers * 4):
            # in rounds, since a pool would run ahead of an endless series without a limit
            yield from pool.imap(examination, range(start, start + _CHUNK * workers * 4), chunksize=_CHUNK)
