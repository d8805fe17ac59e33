"""Whether a measurement comes out the same twice, and whether nothing compared with nothing comes out as nothing.

    python benchmarks/repeatability.py twice [words]       two takes of uprobe: |ln(m1/m2)| and half-widths on the kernel arm
    python benchmarks/repeatability.py aa [words]          native against native: verdicts of at least 100 comparisons

Both measure for real (some minutes each) in a fresh copy of this checkout and print; nothing is asserted. ``twice`` alternates: each
take is one whole quick run, the second begins where the first ends.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from checkout import copy_to, doit

LIMIT = 0.05
HALF_WIDTH = 0.03
COMPARISONS = 100


def take(checkout: Path, name: str, words: list[str]) -> dict[str, Any]:
    """Measure once more and return the result."""
    said = doit(checkout, "run_uprobe", f"take={name}", *words, check=False)
    print(said.stdout.strip().splitlines()[-1], file=sys.stderr)
    (path,) = checkout.glob(f"results/*/*take-{name}*/uprobe.json")
    return dict(json.loads(path.read_bytes()))


def twice(checkout: Path, words: list[str]) -> None:
    """Compare two takes, cell by cell, on the kernel arm."""
    first, second = take(checkout, "a", words), take(checkout, "b", words)
    good = total = 0
    for one, other in zip(first["cells"], second["cells"], strict=True):
        if one["arm"] != "kernel" or one["status"] != "ok" or other["status"] != "ok":
            continue
        a, b = one["metrics"]["time"]["median"], other["metrics"]["time"]["median"]
        widths = [cell["half_width"] or math.inf for cell in (one, other)]
        fine = abs(math.log(a / b)) <= LIMIT and max(widths) <= HALF_WIDTH
        good, total = good + fine, total + 1
        shown = " ".join(f"{100 * width:.2f} %" for width in widths)
        print(f"{one['case']:<28} {a:>12.2f} {b:>12.2f}  ln {math.log(a / b):+.4f}  ± {shown}  {'' if fine else '←'}")
    print(f"{good} of {total} cases within |ln| ≤ {LIMIT} and half-widths ≤ {100 * HALF_WIDTH:.0f} %")


def aa(checkout: Path, words: list[str]) -> None:
    """Compare native with native, in as many takes as give 100 comparisons."""
    spec = checkout / "specs" / "experiments" / "uprobe.yaml"
    text = spec.read_text()
    begin, end = text.index("arms:"), text.index("metrics:")
    arms = "arms:\n  - native\n  - {arm: again, runtime: native, title: native again}\n\n"
    spec.write_text(text[:begin] + arms + text[end:])
    verdicts: Counter[str] = Counter()
    number = 0
    while verdicts.total() < COMPARISONS:
        number += 1
        verdicts.update(c["verdict"] for c in take(checkout, str(number), words)["comparisons"])
    print(f"{verdicts.total()} comparisons of native with native: {dict(verdicts)}")
    print(f"same or inconclusive: {100 * (verdicts['same'] + verdicts['inconclusive']) / verdicts.total():.1f} %")


def main(arguments: list[str]) -> None:
    """Run what is asked for."""
    what = {"twice": twice, "aa": aa}[arguments[0]]
    with tempfile.TemporaryDirectory(prefix="bpfbench-repeat-") as place:
        what(copy_to(Path(place) / "checkout"), arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
