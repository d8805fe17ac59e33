"""``python -m tests.faults [--kills 200] [--others 40] [--seed N] [--only NAME …] [--trial INDEX]``."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from pathlib import Path

from .apart import apart
from .campaign import SCENARIOS, campaign, repeat, table


def main() -> int:
    """Run the campaign and print its table; exit status 1 if anything did not recover."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Break things, and see that they recover.")
    parser.add_argument("--kills", type=int, default=200, help="kills to be dealt, over all stages (200)")
    parser.add_argument("--others", type=int, default=5, help="trials of every other kind (5)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, default=names, help=f"of: {', '.join(names)}")
    parser.add_argument("--apart", action="store_true", help="do not wait for others who measure here, nor they for us")
    parser.add_argument("--gate", type=Path, metavar="FILE", help="hold this file's lock, shared, during each trial")
    parser.add_argument("--trial", type=int, help="only this trial of the one named with --only")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left of this program either
    if options.apart:
        apart()
    print(f"seed {options.seed}", flush=True)
    if options.trial is not None:
        outcomes = [repeat(options.only[0], options.seed, options.trial)]
    else:
        outcomes = campaign(options.seed, options.kills, options.others, options.only, options.gate)
    print("\n".join(table(outcomes, options.seed)))
    return 1 if any(outcome.fault for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
