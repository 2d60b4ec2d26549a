"""Both tables of the self-test: what is planted, and what is right but written otherwise.

python tests/selftest/table.py
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from planted import PLANTED
from running import outcome

warnings.simplefilter("ignore")


def main(words):
    total = 0.0
    for each in PLANTED:
        if words and not any(word in each.title for word in words):
            continue
        found = outcome(each.title, each.op, each.make, each.names)
        total += found.seconds
        verdict = "MISSED" if not found.failing else "named" if found.rightly else "not named"
        wrong = f"  WRONGLY {found.wrongly}" if found.wrongly else ""
        print(
            f"{each.title:40} {len(found.failing):4} of {len(found.records):4} fail  {found.budget:9.3g}  "
            f"{found.seconds:5.1f} s  {verdict}: {'; '.join(' | '.join(entry) for entry in found.named)}{wrong}",
            flush=True,
        )
        if words:
            print(found.diagnosis)
    print(total)


if __name__ == "__main__":
    main(sys.argv[1:])
