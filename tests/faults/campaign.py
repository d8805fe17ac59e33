"""All trials one after the other, and the table of what became of them."""

from __future__ import annotations

import fcntl
import random
import subprocess
import time
import traceback
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..system.bad_luck import ROOT
from . import disasters, kills
from .trials import Outcome, Scenario
from .world import Broken, World

SCENARIOS: list[Scenario] = [*kills.scenarios(), *disasters.scenarios()]
_DISTURBED = 3
"""Times that a trial is tried while packages are being installed."""
_MISSES = 3
"""Trials that may miss (doit had ended before anything was hit) for every one that shall hit."""


def campaign(seed: int, kill_count: int, other_count: int, only: Collection[str], gate: Path | None = None) -> list[Outcome]:
    """Run trials until that many of each kind have hit something; kills are shared out among the stages.

    ``gate`` is a file whose lock is held, shared, during each trial.
    """
    chosen = [scenario for scenario in SCENARIOS if scenario.name in only]
    stages = [scenario for scenario in chosen if scenario.name.startswith("kill-")]
    outcomes: list[Outcome] = []
    world = World()
    try:
        for scenario in chosen:
            wanted = other_count
            if scenario in stages:
                wanted = kill_count // len(stages) + (stages.index(scenario) < kill_count % len(stages))
            if why := scenario.obstacle():
                print(f"  {scenario.name}: not here: {why}", flush=True)
                continue
            outcomes += _series(world, scenario, seed, wanted, gate)
    finally:
        world.close()
    return outcomes


def repeat(name: str, seed: int, index: int) -> Outcome:
    """Run one trial again."""
    world = World()
    try:
        return _trial(world, next(scenario for scenario in SCENARIOS if scenario.name == name), seed, index)
    finally:
        world.close()


def _series(world: World, scenario: Scenario, seed: int, wanted: int, gate: Path | None) -> Iterator[Outcome]:
    hits = 0
    for index in range(wanted * (1 + _MISSES)):
        if hits == wanted:
            return
        with _passing(gate):
            outcome = _trial(world, scenario, seed, index)
        hits += outcome.hit is not None
        yield outcome


@contextmanager
def _passing(gate: Path | None) -> Iterator[None]:
    if gate is None:
        yield
        return
    with gate.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _trial(world: World, scenario: Scenario, seed: int, index: int) -> Outcome:
    """Run one trial; once more when somebody installed packages meanwhile, on which keys depend."""
    for _ in range(_DISTURBED):
        before = _installed()
        outcome = _try(world, scenario, seed, index)
        if not outcome.fault or _installed() == before:
            break
        print(f"  {scenario.name} {index}: packages were installed on this machine meanwhile: once more", flush=True)
    print(f"  {_line(outcome)}", flush=True)
    return outcome


def _installed() -> tuple[int, ...]:
    """Return what changes whenever packages of the system do."""
    places = (Path("/var/lib/dpkg/status"), Path("/var/lib/dpkg/info"), Path("/etc/ld.so.cache"))
    return tuple(place.stat().st_mtime_ns for place in places if place.exists())


def _try(world: World, scenario: Scenario, seed: int, index: int) -> Outcome:
    rng = random.Random(f"{seed}/{scenario.name}/{index}")
    begun = time.monotonic()
    hit, fault = None, None
    try:
        hit = scenario.trial(world, rng)
    except Broken as broken:
        fault = str(broken)
    except Exception:
        fault = f"the trial itself failed:\n{traceback.format_exc()}"
    if fault:
        hit = hit or "?"
        world.give_up()
    return Outcome(scenario.name, index, hit, fault, time.monotonic() - begun)


def _line(outcome: Outcome) -> str:
    verdict = f"BROKEN\n{outcome.fault}" if outcome.fault else "recovered"
    if outcome.hit is None:
        verdict = "nothing was hit"
    return f"{outcome.scenario} {outcome.index}: {outcome.hit or '–'}: {verdict} ({outcome.seconds:.0f} s)"


def table(outcomes: Iterable[Outcome], seed: int) -> list[str]:
    """Return a line a kind of trial, and for each failure how to repeat it."""
    outcomes = list(outcomes)
    lines = [f"revision {_revision()}, seed {seed}", f"{'':14}{'hit':>6}{'recovered':>11}{'missed':>8}{'time':>8}"]
    for scenario in SCENARIOS:
        some = [outcome for outcome in outcomes if outcome.scenario == scenario.name]
        if some:
            lines.append(_row(scenario.name, some))
    kinds = {"kills": True, "others": False}
    for name, kill in kinds.items():
        some = [outcome for outcome in outcomes if outcome.scenario.startswith("kill-") == kill]
        if some:
            lines.append(_row(name, some))
    lines += [
        f"to repeat: python -m tests.faults --seed {seed} --only {outcome.scenario} --trial {outcome.index}"
        for outcome in outcomes
        if outcome.fault
    ]
    return lines


def _revision() -> str:
    """Return the commit that is checked out, marked when files differ from it."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _row(name: str, some: list[Outcome]) -> str:
    hit = [outcome for outcome in some if outcome.hit]
    good = [outcome for outcome in hit if not outcome.fault]
    seconds = sum(outcome.seconds for outcome in some)
    return f"{name:14}{len(hit):>6}{len(good):>11}{len(some) - len(hit):>8}{seconds / 60:>6.1f} m"
