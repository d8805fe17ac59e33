"""How much of a cold quick run is ours: everything but compilers and samples (apt and pip are done before).

    python benchmarks/own_part.py [doit words, such as cases=uprobe,read or noise=accept]

Runs the default tasks once in a fresh copy of this checkout, with an empty store, and adds up: seconds inside compilers (with the
dry runs that find out what they read), seconds inside samples (from the journal), the rest. Prints the rest over the whole.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from checkout import copy_to

HARNESS = """
import json, sys, time
sys.path.insert(0, sys.argv.pop(1))
begun = time.monotonic()
from bpfbench.build import invoke as module
spent = {"compilers": 0.0}

def timed(run):
    def call(argv, cwd):
        start = time.monotonic()
        try:
            return run(argv, cwd)
        finally:
            spent["compilers"] += time.monotonic() - start
    return call

supervised = module.supervised
module.supervised = lambda reaper, logs: timed(supervised(reaper, logs))
module.invoke = timed(module.invoke)
from doit.doit_cmd import DoitMain
status = DoitMain().run(sys.argv[1:])
print(json.dumps({"status": status, "total": time.monotonic() - begun, **spent}))
"""


def main(words: list[str]) -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory(prefix="bpfbench-own-") as place:
        checkout = copy_to(Path(place) / "checkout")
        command = [sys.executable, "-c", HARNESS, str(checkout), *words]
        out = subprocess.run(command, cwd=checkout, check=True, text=True, stdout=subprocess.PIPE).stdout
        told = json.loads(out.splitlines()[-1])
        results = [json.loads(path.read_bytes()) for path in checkout.glob("results/*/*/*.json")]
    samples = sum(result["timing"]["sampled_s"] for result in results)
    ours = told["total"] - told["compilers"] - samples
    print(f"total      {told['total']:8.2f} s (exit status {told['status']})")
    print(f"compilers  {told['compilers']:8.2f} s")
    print(f"samples    {samples:8.2f} s")
    print(f"ours       {ours:8.2f} s = {100 * ours / told['total']:.1f} % of the total")


if __name__ == "__main__":
    main(sys.argv[1:])
