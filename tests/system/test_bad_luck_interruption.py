"""Signals at any moment: everything that was started ends, nothing half-made is seen, and the next run goes on.

``BENCH_KILLS`` says how many random kills there are (20), ``BENCH_KILLS_SEED`` which ones.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpfbench.process import forkserver

from .bad_luck import SOON, Checkout, Running, copy, kill, kill_group, until
from .conftest import NAME

pytestmark = pytest.mark.system

Another = Callable[[Checkout], Checkout]

KILLS = int(os.environ.get("BENCH_KILLS", "20"))
SEED = int(os.environ.get("BENCH_KILLS_SEED", "20250301"))

STAGES = ("build", "warm-up", "blocks", "figure", "report")
VICTIMS = ("doit SIGINT", "doit SIGTERM", "doit SIGKILL", "group SIGKILL", "reaper SIGKILL", "supervisor SIGKILL")


@dataclass(frozen=True)
class Kill:
    """Which process is killed, by what, in which stage, how long into it, with how many workers."""

    number: int
    victim: str
    stage: str
    delay: float
    workers: int

    def __str__(self) -> str:
        return f"{self.number}-{self.victim}-{self.stage}-{1000 * self.delay:.0f}ms-n{self.workers}".replace(" ", "-")


def kills() -> list[Kill]:
    """Return ``KILLS`` kills: every victim at every stage before any twice, at a random moment."""
    rng = random.Random(SEED)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < KILLS:
        every = [
            (victim, stage) for victim in VICTIMS for stage in STAGES if stage in ("build", "warm-up", "blocks") or victim in VICTIMS[:4]
        ]
        rng.shuffle(every)
        pairs += every
    lasts = {"build": 0.8, "warm-up": 0.3, "blocks": 0.8, "figure": 0.4, "report": 0.15}
    return [
        Kill(number, victim, stage, round(rng.uniform(0, lasts[stage]), 3), rng.choice((0, 0, 2)))
        for number, (victim, stage) in enumerate(pairs[:KILLS])
    ]


@pytest.fixture(scope="module")
def started(complete: Checkout, ground: Path) -> Checkout:
    """The one checkout in which all kills happen, one after the other."""
    checkout = copy(complete, ground / "kills" / NAME)
    checkout.succeed()
    return checkout


def prepare(checkout: Checkout, stage: str) -> None:
    """Undo what ``stage`` does, so that it is done again."""
    kinds = {"build": ["uprobe"], "figure": ["figure-tiny"], "report": ["report"]}.get(stage, ["measure-tiny"])
    for item in [item for kind in kinds for item in checkout.items(kind)]:
        checkout.store.remove(item.id)


def until_stage(running: Running, stage: str) -> None:
    """Wait until a stage has begun."""
    checkout = running.checkout
    if stage == "warm-up":
        running.until_noted("run_tiny", "warm-up")
    elif stage == "blocks":
        running.until(lambda: checkout.blocks() >= 1)
    else:
        running.until_started({"build": "build_uprobe", "figure": "figure_tiny", "report": "report"}[stage])


def ours(checkout: Checkout, name: str) -> list[int]:
    """Return the reaper or the supervisors of this checkout's run."""
    found = []
    for process in forkserver.processes():
        try:
            path = Path(f"/proc/{process.pid}")
            if (path / "comm").read_text().strip() == name and checkout.mark.encode() in (path / "environ").read_bytes():
                found.append(process.pid)
        except OSError:
            continue
    return found


def strike(running: Running, victim: str) -> bool:
    """Send the signal; say whether it was doit itself that it went to."""
    who, number = victim.split()
    if who == "doit":
        kill(running.pid, signal.Signals[number])
    elif who == "group":
        kill_group(running.pid)
    else:
        name = {"reaper": "bench-reaper", "supervisor": "bench-supervise"[:15]}[who]
        for pid in ours(running.checkout, name)[:1]:
            kill(pid, signal.SIGKILL)
    return who in ("doit", "group")


@pytest.mark.parametrize("planned", kills(), ids=str)
def test_a_kill_leaves_nothing_and_the_next_run_succeeds(started: Checkout, planned: Kill) -> None:
    prepare(started, planned.stage)
    running = started.start(*["-n", "2"] * bool(planned.workers))
    until_stage(running, planned.stage)
    time.sleep(planned.delay)
    ended_before = running.process.poll() is not None
    blocks = started.blocks()
    direct = strike(running, planned.victim)
    if direct:
        done = running.wait(SOON)
        if not ended_before:
            number = signal.Signals[planned.victim.split()[1]]
            expected = {-number if number == signal.SIGKILL else 130}
            if "report: " in done.out:  # all was done and said: the interpreter was on its way out
                expected |= {0, -number}
            assert done.code in expected, f"exit status {done.code}\n{done.said}"
    else:
        done = running.wait()
        assert done.code in (0, 1), f"exit status {done.code}\n{done.said}"
    assert "Traceback" not in done.said, done.said
    started.assert_nothing_left()
    started.succeed()
    assert set(started.statuses().values()) <= {"ok", "unsupported"}
    if direct and blocks and not ended_before and done.code != 0:
        assert started.result()["timing"]["resumed"] >= 1
        assert started.result()["timing"]["blocks"] == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_measurement_goes_on_where_it_was_interrupted(built: Checkout, another: Another, number: signal.Signals) -> None:
    checkout = another(built)
    running = checkout.start()
    running.until(lambda: checkout.blocks() >= 3)
    kill(running.pid, number)
    done = running.wait(SOON)
    assert done.code == (130 if number != signal.SIGKILL else -number)
    if number != signal.SIGKILL:
        assert "interrupted" in done.err
    checkout.assert_nothing_left()
    before = [record for record in checkout.records() if record["kind"] == "sample" and record["block"] <= 2]
    assert len(before) >= 4
    checkout.succeed()
    timing = checkout.result()["timing"]
    assert timing["resumed"] == 1
    assert timing["blocks"] == 7
    (item,) = checkout.items("measure-tiny")
    journal = (item.tree / "journal.jsonl").read_text()
    assert journal.count('"kind":"resume"') == 1
    assert checkout.cell("entry", "native")["metrics"]["time"]["blocks"] == [1, 2, 3, 4, 5, 6, 7]


def test_everything_dies_at_once(built: Checkout, another: Another) -> None:
    """doit, its reaper and its supervisors killed in one go: nobody is left to clean up, and still nothing stays."""
    checkout = another(built)
    running = checkout.start()
    running.until(lambda: checkout.blocks() >= 2)
    pids = [running.pid, *ours(checkout, "bench-reaper"), *ours(checkout, "bench-supervise")]
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    for pid in pids:
        kill(pid, signal.SIGKILL)
    running.wait(SOON)
    assert until(lambda: not checkout.processes(), SOON)
    checkout.succeed()
    assert checkout.result()["timing"]["resumed"] == 1


def test_two_interrupts_in_a_row_are_no_harm(built: Checkout, another: Another) -> None:
    checkout = another(built)
    running = checkout.start()
    running.until(lambda: checkout.blocks() >= 1)
    for _ in range(5):
        kill(running.pid, signal.SIGINT)
        time.sleep(0.02)
    assert running.wait(SOON).code != 0
    checkout.assert_nothing_left()
    checkout.succeed()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_waiting_for_the_machine(built: Checkout, bare: Checkout, another: Another, number: signal.Signals) -> None:
    measuring, waiting = another(built), another(bare)
    measuring.edit("specs/profiles.yaml", "sample_time: 2ms", "sample_time: 300ms")
    run = measuring.start()
    run.until(lambda: measuring.blocks() >= 1)
    build = waiting.start("build_uprobe")
    build.until_noted("build_uprobe", "waiting")
    kill(build.pid, number)
    assert build.wait(SOON).code == 130
    waiting.assert_in_order()
    assert run.wait().code == 0


def test_a_worker_that_is_killed(built: Checkout, another: Another) -> None:
    checkout = another(built)
    running = checkout.start("-n", "2")
    running.until(lambda: checkout.blocks() >= 1)
    workers = [process.pid for process in forkserver.processes() if process.parent == running.pid]
    measuring = [pid for pid in workers if any(process.parent == pid for process in forkserver.processes())]
    assert len(measuring) == 1
    kill(measuring[0], signal.SIGKILL)
    done = running.wait(60.0)
    assert done.code != 0
    checkout.assert_nothing_left()
    checkout.succeed()


def test_what_is_left_of_an_old_run_is_thrown_away(built: Checkout, another: Another) -> None:
    """An interrupted measurement whose spec has changed since is not gone on with, nor kept for longer than it could be."""
    checkout = another(built)
    running = checkout.start()
    running.until(lambda: checkout.blocks() >= 1)
    kill(running.pid, signal.SIGKILL)
    running.wait(SOON)
    checkout.edit("specs/profiles.yaml", "sample_time: 2ms", "sample_time: 3ms")
    assert checkout.doit().code == 0
    assert checkout.result()["timing"]["resumed"] == 0
    (journal,) = checkout.state.glob("journals/*/journal.jsonl")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    text = journal.read_text()
    assert boot in text
    journal.write_text(text.replace(boot, "0" * len(boot)))
    checkout.succeed("take=again")
