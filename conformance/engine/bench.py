"""What runs units of work inside one process, and says at every moment what it is at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from conformance.engine.execute import Seat, SharedCase, Tools, execute, first_line, take_seat
from conformance.engine.messages import Assignment, Ready
from conformance.engine.runtime import possible, surroundings
from conformance.record import Record
from conformance.suite.case import Divergence


class Teller:
    """How a bench says what it is doing; the base class says nothing."""

    def loading(self, backend: str) -> None:
        """A backend is about to be imported."""

    def preparing(self, backend: str, cases: int) -> None:
        """A backend is about to prepare so many cases at once."""

    def starting(self, place: int, backend: str) -> None:
        """The assignment at this place of the unit is about to run on this backend."""

    def note(self, text: str) -> None:
        """Something that a person may want to know and that changes no verdict."""


class Bench:
    """Backends, each loaded once, and the loop over a unit's cases."""

    def __init__(
        self,
        names: Sequence[str],
        tools: Tools,
        divergences: Mapping[str, Divergence],
        teller: Teller,
        evidence: str = "",
    ) -> None:
        self._tools = tools
        self._evidence = Path(evidence) if evidence else None
        self._possible: dict[str, Mapping[str, Divergence]] = {}  # by backend: most divergences name one
        self._teller = teller
        self.seats: dict[str, Seat] = {}
        for name in names:
            teller.loading(name)
            self.seats[name] = seat = take_seat(name, tools)
            self._possible[name] = possible(divergences, surroundings(seat.name, seat.versions))

    def introduction(self) -> Ready:
        """What was found when the backends were loaded."""
        return Ready(
            versions={"numpy": metadata.version("numpy")}
            | {package: version for seat in self.seats.values() for package, version in seat.versions.items()},
            missing={name: seat.missing for name, seat in self.seats.items() if seat.backend is None},
            devices=self._tools.devices(),
        )

    def run(self, unit: Sequence[Assignment], *, prepare: bool) -> Iterator[Record]:
        """The record of every assignment on each of its backends, in order."""
        if prepare:
            self._prepare(unit)
        for place, assignment in enumerate(unit):
            shared = SharedCase(assignment.case, self._tools)
            for name in assignment.backends:
                self._teller.starting(place, name)
                yield execute(shared, self.seats[name], self._tools, self._possible[name], self._evidence)

    def _prepare(self, unit: Sequence[Assignment]) -> None:
        for name, seat in self.seats.items():
            if seat.backend is None:
                continue
            try:
                cases = [
                    assignment.case
                    for assignment in unit
                    if name in assignment.backends and seat.backend.unsupported(assignment.case) is None
                ]
                if len(cases) > 1:
                    self._teller.preparing(name, len(cases))
                    seat.backend.prepare(cases)
            except Exception as error:  # noqa: BLE001 - each case then prepares itself, and fails in its own name
                self._teller.note(f"{name} could not prepare a unit: {type(error).__name__}: {first_line(str(error))}")
