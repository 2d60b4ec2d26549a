"""What a campaign adds up to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from conformance.calibration.outcome import Outcome, Worst

#: deviations of frameworks that are shown one by one for each (framework, op); all of them are counted
EXAMPLES = 2


@dataclass(slots=True)
class Row:
    """A correct implementation: how often it ran, and what became of it."""

    runs: int = 0
    false_alarms: int = 0
    deviations: int = 0  # of a framework, visibly wrong: nothing to do with the allowance
    beyond_a: int = 0  # runs of a framework in bfloat16 or float16 that class A would fail
    close: int = 0
    ulps: int = 0
    worst: Worst = field(default_factory=Worst)


@dataclass(slots=True)
class MistakeRow:
    """A planted mistake: the runs in which it is visible, and how many of them each way of judging fails."""

    runs: int = 0
    visible: int = 0
    detected: int = 0
    close: int = 0
    ulps: int = 0


@dataclass(slots=True)
class Carried:
    """Largest budgets after the first step, of buffers and of the eval steps that use them."""

    runs: int = 0
    buffers: float = 0.0
    evaluated: float = 0.0


@dataclass(slots=True)
class Tally:
    """All outcomes of a campaign so far; adding them in the order of their configurations makes it reproducible."""

    correct: dict[tuple[str, str], Row] = field(default_factory=dict)  # (kind, name)
    mistakes: dict[str, MistakeRow] = field(default_factory=dict)
    strains: dict[tuple[str, str, str], float] = field(default_factory=dict)  # (kind, dtype, quantity), class A alone
    carried: dict[tuple[str, str], Carried] = field(default_factory=dict)  # (dtype, param dtype)
    false_alarms: list[Outcome] = field(default_factory=list)
    deviations: dict[tuple[str, str], list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    beyond_a: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (dtype, op, quantity)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """The outcomes of one configuration."""
        for outcome in outcomes:
            if outcome.kind == "mistake":
                self._add_mistake(outcome)
            else:
                self._add_correct(outcome)

    def _add_mistake(self, outcome: Outcome) -> None:
        row = self.mistakes.setdefault(outcome.name, MistakeRow())
        row.runs += 1
        if outcome.visible:
            row.visible += 1
            row.detected += outcome.failed
            row.close += outcome.close
            row.ulps += outcome.ulps

    def _add_correct(self, outcome: Outcome) -> None:
        row = self.correct.setdefault((outcome.kind, outcome.name), Row())
        row.runs += 1
        deviates = outcome.failed and outcome.kind != "own" and (outcome.visible or outcome.narrow)
        if deviates:
            row.deviations += 1
            self.deviations[outcome.name, outcome.op].append(outcome)
            return
        if outcome.failed:
            row.false_alarms += 1
            self.false_alarms.append(outcome)
        row.close += outcome.close
        row.ulps += outcome.ulps
        row.worst |= outcome.worst
        if outcome.narrow:
            row.beyond_a += bool(outcome.beyond_a)
            self.beyond_a.update((outcome.dtype, outcome.op, quantity) for quantity in outcome.beyond_a)
            return
        for quantity, strain in outcome.strains:
            key = (outcome.kind, outcome.dtype, quantity)
            self.strains[key] = max(self.strains.get(key, 0.0), strain)
        if outcome.carried is not None:
            row_of_dtypes = self.carried.setdefault((outcome.dtype, outcome.param_dtype), Carried())
            row_of_dtypes.runs += 1
            row_of_dtypes.buffers = max(row_of_dtypes.buffers, outcome.carried[0])
            row_of_dtypes.evaluated = max(row_of_dtypes.evaluated, outcome.carried[1])

    def _judged(self) -> list[Row]:
        """The correct implementations that class A answers for: all but torch in bfloat16 and float16."""
        return [row for (kind, name), row in self.correct.items() if kind != "torch" or not name.endswith("16")]

    @property
    def runs(self) -> int:
        """Executions of correct implementations, judged by the class that they must meet."""
        return sum(row.runs - row.deviations for row in self._judged())

    @property
    def detection(self) -> float:
        """The fraction of visible mistakes that the judge fails."""
        visible = sum(row.visible for row in self.mistakes.values())
        return sum(row.detected for row in self.mistakes.values()) / visible if visible else 0.0

    def rival(self, name: str) -> tuple[float, float]:
        """False alarms and detection of "close" or "ulps", as fractions."""
        visible = sum(row.visible for row in self.mistakes.values())
        alarms = sum(getattr(row, name) for row in self._judged())
        detected = sum(getattr(row, name) for row in self.mistakes.values())
        return alarms / self.runs if self.runs else 0.0, detected / visible if visible else 0.0
