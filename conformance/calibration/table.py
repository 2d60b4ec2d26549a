"""The campaign's result as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from conformance.calibration.outcome import Outcome, Worst
from conformance.calibration.tally import EXAMPLES, Tally

_LINES = 40  # configurations with false alarms that are shown
_DTYPES = ("float64", "float32", "bfloat16", "float16")


def headline(tally: Tally) -> str:
    """The campaign in one line."""
    return (
        f"false alarms: {len(tally.false_alarms):,} in {tally.runs:,} runs; detection {tally.detection:.1%}; "
        f"assert_close: {tally.rival('close')[0]:.1%} false alarms"
    ).replace("%", " %")


def table(tally: Tally) -> str:
    """Everything that was measured; ends in the headline."""
    blocks = [
        *_implementations(tally),
        *_strains(tally),
        *_carried(tally),
        *_mistakes(tally),
        *_rivals(tally),
        *_false_alarms(tally),
        *_deviations(tally),
        *_beyond_a(tally),
        headline(tally),
    ]
    return "\n\n".join(blocks) + "\n"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _implementations(tally: Tally) -> Iterator[str]:
    yield "### Correct implementations"
    yield _grid(
        ("implementation", "runs", "false alarms", "worst budget", "quantity", "where", "index"),
        (
            (
                name,
                f"{row.runs:,}",
                f"{row.false_alarms:,}",
                _number(row.worst.budget),
                row.worst.quantity,
                row.worst.place,
                str(row.worst.index),
            )
            for (_, name), row in tally.correct.items()
        ),
    )
    yield (
        "Budgets of bfloat16 and float16 come near 1 because the one rounding on store may use all of it. torch in "
        "these formats is judged by class B; what class A says of it stands at the end."
    )


def _strains(tally: Tally) -> Iterator[str]:
    quantities = sorted({quantity for _, _, quantity in tally.strains})
    measured = {(kind, dtype) for kind, dtype, _ in tally.strains}
    yield "### Largest (error - rounding on store) / d in the first step, class A"
    yield _grid(
        ("implementations", "dtype", *quantities),
        (
            (kind, dtype, *(_strain(tally.strains.get((kind, dtype, quantity))) for quantity in quantities))
            for kind in ("own", "torch", "onnxruntime")
            for dtype in _DTYPES
            if (kind, dtype) in measured
        ),
    )


def _strain(share: float | None) -> str:
    return "-" if share is None else f"{share:.3f}"


def _carried(tally: Tally) -> Iterator[str]:
    yield "### After the first step: running buffers that carry their errors, and eval steps that use them"
    yield _grid(
        ("input", "buffers", "runs", "worst budget of buffers", "of eval steps"),
        (
            (*dtypes, f"{row.runs:,}", _number(row.buffers), _number(row.evaluated))
            for dtypes, row in sorted(tally.carried.items())
        ),
    )


def _mistakes(tally: Tally) -> Iterator[str]:
    yield f"### Planted mistakes: {len(tally.mistakes)}"
    yield _grid(
        ("mistake", "runs", "visible", "detected", "assert_close", "ULP <= 64"),
        (
            (
                name,
                f"{row.runs:,}",
                f"{row.visible:,}",
                *(_share(hits, row.visible) for hits in (row.detected, row.close, row.ulps)),
            )
            for name, row in sorted(tally.mistakes.items())
        ),
    )


def _rivals(tally: Tally) -> Iterator[str]:
    own = len(tally.false_alarms) / tally.runs if tally.runs else 0.0
    rows = [("this model", own, tally.detection), ("assert_close defaults", *tally.rival("close"))]
    rows.append(("ULP distance <= 64", *tally.rival("ulps")))
    yield "### Side by side"
    yield _grid(
        ("judge", "false alarms", "detection of visible mistakes"),
        ((name, _percent(alarms), _percent(found)) for name, alarms, found in rows),
    )


def _false_alarms(tally: Tally) -> Iterator[str]:
    if tally.false_alarms:
        yield "### False alarms"
        shown = {(outcome.index, outcome.kind): outcome for outcome in reversed(tally.false_alarms)}
        yield "\n".join(_line(shown[key]) for key in sorted(shown)[:_LINES])


def _deviations(tally: Tally) -> Iterator[str]:
    if not tally.deviations:
        return
    yield "### Deviations of the frameworks"
    yield (
        "Visibly wrong: the error is more than four times the worst of all own implementations on the same data. "
        "`conformance calibrate --index N` shows one."
    )
    lines = []
    for (name, op), outcomes in sorted(tally.deviations.items()):
        lines.append(f"- {name}, {op}: {len(outcomes):,} runs")
        lines += [f"    {_line(outcome)}" for outcome in outcomes[:EXAMPLES]]
    yield "\n".join(lines)


def _beyond_a(tally: Tally) -> Iterator[str]:
    if not tally.beyond_a:
        return
    yield "### torch in bfloat16 and float16: runs that class A fails"
    quantities = sorted({quantity for _, _, quantity in tally.beyond_a})
    ops = sorted({(dtype, op) for dtype, op, _ in tally.beyond_a})
    yield _grid(
        ("dtype", "op", *quantities),
        ((dtype, op, *(f"{tally.beyond_a[dtype, op, quantity]:,}" for quantity in quantities)) for dtype, op in ops),
    )


def listing(outcomes: Iterable[Outcome]) -> str:
    """Every execution on one configuration."""
    return (
        _grid(
            ("kind", "name", "judge", "budget", "quantity", "visible", "assert_close", "ULP <= 64", "figure"),
            (
                (
                    outcome.kind,
                    outcome.name,
                    "fails" if outcome.failed else "passes",
                    _number(outcome.worst.budget),
                    outcome.worst.quantity,
                    ("yes" if outcome.visible else "no") if outcome.kind == "mistake" or outcome.failed else "-",
                    "fails" if outcome.close else "passes",
                    "fails" if outcome.ulps else "passes",
                    outcome.said,
                )
                for outcome in outcomes
            ),
        )
        + "\n"
    )


def _line(outcome: Outcome) -> str:
    worst: Worst = outcome.worst
    return f"- index {outcome.index}, {outcome.name}, {worst.place}: {outcome.said}"


def _number(budget: float) -> str:
    return "not a number" if budget == float("inf") else f"{budget:.3f}" if budget < 10 else f"{budget:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _share(hits: int, of: int) -> str:
    return _percent(hits / of) if of else "-"
