"""How much of a cold quick run is ours: everything but apt, pip, compilers and samples.

    python benchmarks/own_part.py [doit arguments, such as run_uprobe cases=uprobe,read or noise=accept]

Runs the default tasks once in a fresh copy of this checkout, with an empty store, and adds up: seconds inside compilers (with the
dry runs that find out what they read), inside fetches (apt, pip, downloads), inside samples (from the journals), and seconds of
waiting for others on this machine: until nobody else builds or measures, and until it is quiet. The rest is ours, told by stage.

What is inside a sample is the loader, the victim and what starts, watches and ends them; what is between samples is ours. With
``-n 2`` seconds would overlap, so that is refused.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from checkout import copy_to

HARNESS = """
import contextlib, json, sys, time
begun = time.monotonic()
sys.path.insert(0, sys.argv.pop(1))
spent, stages, inside = {}, {}, []

@contextlib.contextmanager
def timed(name):
    start = time.monotonic()
    inside.append(name)
    try:
        yield
    finally:
        inside.pop()
        if not inside:  # a compiler that a build of pip's starts is counted once
            spent[name] = spent.get(name, 0.0) + time.monotonic() - start

def wrap(owner, attribute, name):
    plain = getattr(owner, attribute)
    def wrapped(*arguments, **options):
        with timed(name):
            return plain(*arguments, **options)
    setattr(owner, attribute, wrapped)

def stage(owner, attribute, name):
    plain = getattr(owner, attribute)
    def wrapped(self, *arguments, **options):
        start, before = time.monotonic(), sum(spent.values())
        try:
            return plain(self, *arguments, **options)
        finally:
            key = name or self.name.partition("_")[0]
            stages[key] = stages.get(key, 0.0) + time.monotonic() - start - (sum(spent.values()) - before)
    setattr(owner, attribute, wrapped)

from bpfbench import fetching, measuring, steps, system
from bpfbench.build import invoke
from bpfbench.measure import run
from bpfbench.store.locks import Flock

supervised = invoke.supervised
def timed_supervised(reaper, logs):
    plain = supervised(reaper, logs)
    def call(*arguments, **options):
        with timed("compilers"):
            return plain(*arguments, **options)
    return call
invoke.supervised = timed_supervised
wrap(invoke, "invoke", "compilers")
wrap(fetching.FetchStep, "_fetch", "fetches")
wrap(system, "install", "fetches")
wrap(Flock, "take", "waiting")
survey = run.noise.survey
def surveyed(*arguments, **options):  # the first survey is ours; more of them mean that the machine was not quiet
    surveyed.times += 1
    with timed("waiting") if surveyed.times > 1 else contextlib.nullcontext():
        return survey(*arguments, **options)
wait = run._wait_until_quiet
def wait_until_quiet(*arguments, **options):
    surveyed.times = 0
    return wait(*arguments, **options)
run.noise.survey, run._wait_until_quiet = surveyed, wait_until_quiet
stage(steps.Step, "run", None)
stage(measuring.MeasureStep, "run", "run")

from doit.doit_cmd import DoitMain
status = DoitMain().run(sys.argv[1:])
print(json.dumps({"status": status, "total": time.monotonic() - begun, "spent": spent, "stages": stages}))
"""


def main(arguments: list[str]) -> None:
    """Run and print."""
    if any(argument.startswith(("-n", "--process")) for argument in arguments):
        sys.exit("own_part.py: seconds of tasks that run at once cannot be told apart")
    with tempfile.TemporaryDirectory(prefix="bpfbench-own-") as place:
        checkout = copy_to(Path(place) / "checkout")
        command = [sys.executable, "-c", HARNESS, str(checkout), *arguments]
        out = subprocess.run(command, cwd=checkout, check=True, text=True, stdout=subprocess.PIPE).stdout
        results = [json.loads(path.read_bytes()) for path in checkout.glob("results/*/*/*.json")]
    tell(json.loads(out.splitlines()[-1]), [result["timing"] for result in results])


def tell(told: dict[str, Any], timings: list[dict[str, Any]]) -> None:
    """Print how the seconds are divided."""
    spent: dict[str, float] = {"samples": sum(timing["sampled_s"] for timing in timings), **told["spent"]}
    whole = told["total"] - spent.get("waiting", 0.0)
    ours = told["total"] - sum(spent.values())
    stages: dict[str, float] = dict(told["stages"])
    # Samples are in the run stage and so is, in its own step, what is derived from them.
    stages["run"] = stages.get("run", 0.0) - stages.pop("samples", 0.0) - spent["samples"]
    print(f"total      {told['total']:8.2f} s (exit status {told['status']})")
    for name in ("waiting", "fetches", "compilers", "samples"):
        print(f"{name:<10} {spent.get(name, 0.0):8.2f} s")
    print(f"ours       {ours:8.2f} s = {100 * ours / whole:.1f} % of the total without waiting")
    for name, seconds in sorted(stages.items(), key=lambda pair: -pair[1]):
        print(f"  {name:<8} {seconds:8.2f} s")
    print(f"  the rest {ours - sum(stages.values()):8.2f} s (start, looking, locks, the end)")


if __name__ == "__main__":
    main(sys.argv[1:])
