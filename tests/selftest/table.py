"""Both tables of the self-test: what is planted, and what is right but written otherwise.

    python tests/selftest/table.py [WORD ...]

With words, only the modules whose titles hold one of them, each with its diagnosis.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _chosen(all_of_them, words):
    return [each for each in all_of_them if not words or any(word in each.title for word in words)]


def planted_table(words) -> int:
    from planted import PLANTED
    from running import outcome

    _say(f"{'planted mistake':40} {'failing cases':>15} {'worst budget':>13}  named")
    caught = named = wrong = 0
    chosen = _chosen(PLANTED, words)
    for each in chosen:
        found = outcome(each.title, each.op, each.make, each.names)
        caught += bool(found.failing)
        named += found.rightly
        wrong += bool(found.wrongly)
        told = "; ".join(" or ".join(entry) for entry in found.named) or "nothing"
        remark = "" if found.rightly else f"   NOT NAMED: {', '.join(each.names)}"
        remark += f"   WRONG: {found.wrongly}" if found.wrongly else ""
        cases = f"{len(found.failing)} of {len(found.records)}"
        _say(f"{each.title:40} {cases:>15} {found.budget:13.3g}  {told}{remark}")
        if words:
            _say(str(found.diagnosis))
    _say(f"{len(chosen)} planted: {caught} caught, {named} named rightly, {wrong} wrongly\n")
    return len(chosen) - caught + wrong


def correct_table(words) -> int:
    from correct import CORRECT
    from running import outcome

    _say(f"{'right, and written otherwise':40} {'cases':>15} {'worst budget':>13}")
    alarms = 0
    chosen = _chosen(CORRECT, words)
    for each in chosen:
        found = outcome(each.title, each.op, each.make, as_checked=True)
        alarms += bool(found.failing)
        told = "".join(f"\n   ALARM {record.id}: {record.reason}" for record in found.failing[:3])
        _say(f"{each.title:40} {len(found.records):15} {found.budget:13.3g}{told}")
    _say(f"{len(chosen)} right ones: {alarms} raised an alarm")
    return alarms


def main(words) -> int:
    here = Path(__file__).parent
    sys.path[:0] = [str(here), str(here.parents[1])]
    warnings.simplefilter("ignore")
    return int(bool(planted_table(words) + correct_table(words)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
