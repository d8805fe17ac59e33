"""kill -9 at a random moment of a stage, to one process of a run, or to all of them at once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from bpfbench.process import forkserver

from ..system.bad_luck import SOON, Checkout, Running, kill, until
from .trials import Scenario
from .world import World, ensure, finished, whole

STAGES: dict[str, tuple[str, ...]] = {
    "fetch": ("mirrored", "cloned"),
    "build": ("uprobe", "small"),
    "measure": ("measure-tiny",),
    "derive": ("result-tiny", "check-tiny", "figure-tiny", "report"),
    "all": ("*",),
}
"""Stage → items that are taken away, so that the next doit has to make them."""

TARGETS = ("doit", "worker", "reaper", "supervisor", "child", "everything")
"""Whom the kill is meant for: doit, a worker of ``doit -n 2``, the process that starts commands, one that looks after a command, a
command, or all of them at once."""

AGAIN = 0.25
"""How often the run that should mend it is killed too."""

PATIENCE = 0.5
"""Seconds for which a target is waited for before something else that lives is hit."""

_lasts: dict[tuple[str, str], float] = {}
"""Seconds that a stage took when it was not disturbed."""


def scenarios() -> list[Scenario]:
    """Return one scenario a stage."""
    return [Scenario(f"kill-{stage}", f"kill -9 while doit is at: {stage}", _of(stage)) for stage in STAGES]


def _of(stage: str) -> Callable[[World, random.Random], str | None]:
    def trial(world: World, rng: random.Random) -> str | None:
        return killed(world, rng, stage)

    return trial


def killed(world: World, rng: random.Random, stage: str) -> str | None:
    """Kill something during a stage and see what the next doit makes of it."""
    checkout = world.used
    parallel = rng.random() < 0.4
    words = ("run", "-n", "2") if parallel else ()
    target = rng.choice([name for name in TARGETS if parallel or name != "worker"])
    lasts = _duration(world, checkout, stage)
    take_away(checkout, stage)
    world.mirrors.lies = {"one": "slow"} if rng.random() < 0.5 else {}
    moment = rng.uniform(0.0, 1.0) * lasts
    begun = time.monotonic()
    running = world.start(checkout, *words)
    hit = _kill(rng, running, target, begun + moment)
    done = finished(running)
    after = time.monotonic() - begun
    world.mirrors.lies = {}
    if not hit:  # the machine has more time to spare than it had then
        _lasts[str(world.place), stage] = min(lasts, after)
    else:
        ensure("Traceback" not in done.said, f"doit said, when {hit} was killed:\n{done.said}")
        whole(checkout.store)  # what is seen is whole at any moment, not only after the next doit
        if hit == "doit":
            until(lambda: not checkout.processes(), SOON)
            ensure(not checkout.processes(), f"doit was killed, and still there are {checkout.processes()}")
        if rng.random() < AGAIN:
            hit += _killed_again(world, rng, checkout, words)
    world.recover(checkout)
    again = world.doit(checkout)
    ensure(
        again.code == 0 and not again.executed,
        f"the doit after that was not idle: {again.executed}\n{again.said}",
    )
    return f"{hit} {'-n 2 ' if parallel else ''}after {min(moment, after):.2f} of {lasts:.1f} s" if hit else None


def _killed_again(world: World, rng: random.Random, checkout: Checkout, words: tuple[str, ...]) -> str:
    """Kill the next doit as well; return what was hit, in words to be added."""
    begun = time.monotonic()
    running = world.start(checkout, *words)
    hit = _kill(rng, running, rng.choice(TARGETS), begun + rng.uniform(0.0, 3.0))
    done = finished(running)
    ensure("Traceback" not in done.said, f"doit said, when {hit} was killed after another kill:\n{done.said}")
    whole(checkout.store)
    return f", then {hit}" if hit else ""


def take_away(checkout: Checkout, stage: str) -> None:
    """Let the store forget what a stage made, as if it had never been made."""
    for item_id in checkout.store.ids():
        if "*" in STAGES[stage] or item_id[33:] in STAGES[stage]:
            checkout.store.remove(item_id)
    if stage in ("derive", "all"):
        shutil.rmtree(checkout.root / "results", ignore_errors=True)
    if stage == "fetch":
        for name in ("downloads", "fetch"):
            shutil.rmtree(checkout.state / name, ignore_errors=True)
    if stage == "all":
        shutil.rmtree(checkout.state, ignore_errors=True)


def _duration(world: World, checkout: Checkout, stage: str) -> float:
    """Return how long the stage takes, from the start of doit on, having tried it once."""
    known = _lasts.get((str(world.place), stage))
    if known is None:
        take_away(checkout, stage)
        begun = time.monotonic()
        world.recover(checkout)
        known = _lasts[str(world.place), stage] = time.monotonic() - begun
    return known


def _kill(rng: random.Random, running: Running, target: str, moment: float) -> str | None:
    """Kill the target at the moment, or as soon after it as there is one; return who it was.

    When there is none for long, it is somebody else's turn: not every stage starts commands all the time.
    """
    while running.process.poll() is None:
        now = time.monotonic()
        if now >= moment:
            found = {name: pids for name, pids in aims(running.pid).items() if pids}
            if target not in found and now > moment + PATIENCE and found:
                target = rng.choice(sorted(found))
            if target in found and running.process.poll() is None:
                chosen = found[target] if target == "everything" else [rng.choice(found[target])]
                names = ", ".join(sorted({_name(pid) for pid in chosen}))
                for pid in chosen:
                    kill(pid, signal.SIGKILL)
                return f"{target} ({names})" if target == "child" else target
        time.sleep(0.002)
    return None


def aims(doit: int) -> dict[str, list[int]]:
    """Return the living processes of a run by what they are."""
    below = forkserver.descendants(doit)
    names = {process.pid: _name(process.pid) for process in below}
    supervisors = [pid for pid, name in names.items() if name == "bench-supervise"]
    return {
        "doit": [doit],
        "worker": [p.pid for p in below if p.parent == doit and _command(p.pid) == _command(doit)],
        "reaper": [pid for pid, name in names.items() if name == "bench-reaper"],
        "supervisor": supervisors,
        "child": [process.pid for process in below if process.parent in supervisors],
        "everything": [doit, *names],
    }


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"


def _command(pid: int) -> bytes:
    try:
        # Before it becomes doit, the process is the shell that gives it its own /tmp.
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return os.urandom(4)
