"""Whatever is killed, and however: nothing of a tree is left, and nothing else is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfbench.process import forkserver
from bpfbench.process.batch import run
from bpfbench.process.errors import Died, Lost, ProcessError, TimedOut
from bpfbench.process.leftovers import leftovers, reap_leftovers
from bpfbench.process.reaper import Reaper

from .conftest import (
    PATIENCE,
    TREE,
    alive,
    command,
    members,
    python,
    tree_command,
    until,
    until_gone,
    with_package,
)

HARNESS = """
import sys, time
from pathlib import Path
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.errors import Lost
from bpfbench.process.reaper import Reaper

mark, directory, tree = sys.argv[1:]
command = Command((sys.executable, "-I", "-S", "-c", tree, directory), minimal_env("/"), Path("/"), "tree")
with Reaper(mark) as reaper:
    child = reaper.start(command, Path(directory, "logs"))
    child.expect("READY", 60)
    print("UP", reaper.pid, flush=True)
    try:
        child.wait(1000)
    except Lost:
        print("LOST", flush=True)
        time.sleep(1000)
"""


@pytest.fixture
def harness(mark: str, tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(mark, tmp_path)
    try:
        yield harness
    finally:
        harness.process.kill()
        harness.process.communicate()
        reap_leftovers(mark)


class Harness:
    """Another process that uses a reaper, and the tree that it started."""

    def __init__(self, mark: str, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HARNESS, mark, str(directory), TREE],
            env=with_package(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        up, reaper = self.process.stdout.readline().split()
        assert up == "UP"
        self.tree = members(directory)
        assert len(self.tree) == 4
        top = next(process for process in self.tree if process.parent not in {p.pid for p in self.tree})
        supervisors = {process.parent for process in self.tree} - {process.pid for process in self.tree}
        assert len(supervisors) == 1, "the daemon must have been adopted by the supervisor"
        assert top
        self.pids = {"harness": self.process.pid, "reaper": int(reaper), "supervisor": supervisors.pop()}
        self.servers = [_look(self.pids["reaper"]), _look(self.pids["supervisor"])]

    def kill(self, *roles: str) -> None:
        """Kill all of them at once: none gets to see another die."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for role in roles:
                os.kill(self.pids[role], number)


def _look(pid: int) -> forkserver.Process:
    process = forkserver.look(pid)
    assert process
    return process


@pytest.fixture
def innocent(tmp_path: Path, mark: str) -> Iterator[Callable[[], bool]]:
    """A process that looks like ours in every way, but is somebody else's; says whether it lives."""
    pids = tmp_path / "innocent"
    pids.mkdir()
    env = {**tree_command(pids).env, "BPFBENCH_MARK": mark}
    process = subprocess.Popen(
        [*tree_command(pids).argv], env=env, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout
    assert process.stdout.readline() == b"READY\n"
    theirs = members(pids)
    assert len(theirs) == 4
    yield lambda: len(alive(theirs)) == 4
    for member in theirs:
        forkserver.signal_process(member, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(
    "roles",
    [
        ("harness",),
        ("reaper",),
        ("supervisor",),
        ("harness", "reaper"),
        ("harness", "supervisor"),
        ("reaper", "supervisor"),
    ],
)
def test_whoever_is_killed_the_others_clean_up(harness: Harness, innocent, roles: tuple[str, ...]) -> None:
    harness.kill(*roles)
    until_gone(harness.tree)
    if "harness" in roles:
        until_gone(harness.servers)
    assert innocent()


def test_what_survives_the_death_of_all_is_reaped_later(harness: Harness, innocent, mark: str) -> None:
    harness.kill("harness", "reaper", "supervisor")
    harness.process.wait()
    until_gone(harness.servers)
    assert alive(harness.tree), "the deaf ones are expected to survive"
    assert {left.pid for left in leftovers(mark)} >= set(alive(harness.tree))
    assert not leftovers("another-mark")
    ended = reap_leftovers(mark[:-2])
    assert {left.pid for left in ended} <= {process.pid for process in harness.tree}
    assert {left.mark for left in ended} == {mark}
    until_gone(harness.tree)
    assert not reap_leftovers(mark)
    assert innocent()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_to_the_harness(harness: Harness, innocent, number: signal.Signals) -> None:
    harness.process.send_signal(number)
    until_gone([*harness.tree, *harness.servers])
    assert innocent()


def test_a_living_harness_learns_that_a_supervisor_was_killed(harness: Harness) -> None:
    harness.kill("supervisor")
    assert harness.process.stdout
    assert harness.process.stdout.readline() == "LOST\n"


@pytest.mark.parametrize("also_the_reaper", [False, True])
def test_when_a_child_is_reported_lost_nothing_of_it_is_left(
    reaper: Reaper, tree, tmp_path: Path, also_the_reaper: bool
) -> None:
    command, pids = tree
    child = reaper.start(command, tmp_path)
    child.expect("READY", PATIENCE)
    processes = members(pids)
    victims = [_look(child.pid).parent] + [reaper.pid] * also_the_reaper
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for victim in victims:
            os.kill(victim, number)
    with pytest.raises(Lost):
        child.wait(PATIENCE)
    assert len(processes) == 4
    assert not alive(processes)
    assert not child.alive


def test_nothing_of_a_living_run_is_a_leftover(reaper: Reaper, mark: str, tree, tmp_path: Path) -> None:
    command, pids = tree
    reaper.start(command, tmp_path).expect("READY", PATIENCE)
    assert not reap_leftovers(mark)
    assert len(members(pids)) == 4


def test_a_leftover_that_shed_its_environment_is_recognised(mark: str, tmp_path: Path) -> None:
    """As nginx and Redis do: here by executing with an empty one."""
    marker = tmp_path / "pid"
    script = (
        f"setsid env -i sh -c 'echo $$ >{marker}.part; mv {marker}.part {marker}; exec sleep 1000' & wait"
    )
    with Reaper(mark) as reaper:
        child = reaper.start(command("/bin/sh", "-c", script), tmp_path)
        until(marker.exists, "the daemon")
        daemon = _look(int(marker.read_text()))
        supervisor = _look(child.pid).parent
        for number in (signal.SIGSTOP, signal.SIGKILL):
            os.kill(reaper.pid, number)
            os.kill(supervisor, number)
        until(lambda: (seen := forkserver.look(reaper.pid)) is None or seen.zombie, "death of the reaper")
        until(lambda: daemon.pid in {left.pid for left in leftovers(mark)}, "recognition")
        assert alive([daemon])
        with pytest.raises(Lost):
            child.wait(PATIENCE)
        assert not alive([daemon])


def test_stop_ends_the_whole_tree(reaper: Reaper, tree, tmp_path: Path, innocent) -> None:
    command, pids = tree
    child = reaper.start(command, tmp_path)
    child.expect("READY", PATIENCE)
    processes = members(pids)
    assert len(processes) == 4
    assert child.stop(0.1).signal == "SIGTERM"
    assert not alive(processes)
    assert innocent()
    assert child.stop().signal == "SIGTERM", "stopping twice is harmless"


def test_leaving_the_context_ends_everything(mark: str, tmp_path: Path) -> None:
    processes = []
    with pytest.raises(ZeroDivisionError), Reaper(mark) as reaper:
        for number in range(3):
            pids = tmp_path / str(number)
            pids.mkdir()
            reaper.start(tree_command(pids), pids / "logs").expect("READY", PATIENCE)
            processes += members(pids)
        processes.append(_look(reaper.pid))
        1 / 0  # noqa: B018 - any exception
    assert len(processes) == 13
    assert not alive(processes)


def test_term_comes_first_so_that_a_server_can_tidy_up(reaper: Reaper, tmp_path: Path) -> None:
    script = "trap 'echo tidied; exit 5' TERM; echo READY; while :; do sleep 0.05; done"
    child = reaper.start(command("/bin/sh", "-c", script), tmp_path)
    child.expect("READY", PATIENCE)
    assert child.stop(PATIENCE).code == 5
    assert child.expect("tidied", PATIENCE) == "tidied"


def test_a_tree_that_runs_away_by_forking_is_caught(reaper: Reaper, tmp_path: Path) -> None:
    """Every process lives for a moment only: its number is out of date as soon as it has been read."""
    script = "import os, time\nprint('READY', flush=True)\nif os.fork(): time.sleep(1000)\n"
    chain = "end = time.time() + 60\nwhile time.time() < end and not os.fork(): pass\n"
    child = reaper.start(python(script + chain), tmp_path)
    child.expect("READY", PATIENCE)
    supervisor = _look(child.pid).parent
    child.stop(0)
    assert not forkserver.descendants(supervisor)


def test_the_end_of_the_command_is_the_end_of_its_tree(reaper: Reaper, tree, tmp_path: Path) -> None:
    pids = tree[1]
    script = TREE.replace("flush=True)\nlive()", "flush=True)\nos._exit(4)")
    child = reaper.start(python(script, str(pids)), tmp_path)
    child.expect("READY", PATIENCE)
    assert child.wait(PATIENCE).code == 4
    assert len([path for path in pids.iterdir() if path.name.isdecimal()]) == 4
    assert not members(pids)


def test_several_children_live_side_by_side(reaper: Reaper, tmp_path: Path) -> None:
    echo = "import sys\nfor line in sys.stdin: print(sys.argv[1], line, end='', flush=True)"
    children = [
        reaper.start(python(echo, str(number), name=f"c{number}", stdin=True), tmp_path)
        for number in range(4)
    ]
    for number, child in enumerate(children):
        child.send("a")
        assert child.expect(" a", PATIENCE) == f"{number} a"
    assert children[2].stop().signal == "SIGTERM"
    for child in (children[3], children[1], children[0]):
        child.send("b")
        assert child.expect(" b", PATIENCE).endswith(" b")
    assert [child.alive for child in children] == [True, True, False, True]


def test_a_batch_command_has_a_wall_deadline(reaper: Reaper, tree, tmp_path: Path) -> None:
    command, pids = tree
    with pytest.raises(TimedOut, match="did not end within 1 s") as caught:
        run(reaper, command, tmp_path, wall=1)
    assert caught.value.waited >= 1
    assert not members(pids)


def test_a_batch_command_has_a_silence_deadline(reaper: Reaper, tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5 6; do echo busy; sleep 0.2; done; exec sleep 1000"
    with pytest.raises(TimedOut, match="printed nothing for"):
        run(reaper, command("/bin/sh", "-c", script), tmp_path, wall=PATIENCE, silence=0.8)
    assert (tmp_path / "child.out").read_text() == "busy\n" * 6, "writing on is not silence"


def test_a_batch_command_reports_its_status(reaper: Reaper, tmp_path: Path) -> None:
    failing = command("/bin/sh", "-c", "echo 'error: no such type' >&2; exit 2")
    assert run(reaper, failing, tmp_path, wall=PATIENCE).code == 2
    with pytest.raises(Died, match="no such type") as caught:
        run(reaper, failing, tmp_path, wall=PATIENCE, check=True)
    assert caught.value.exit.code == 2
    assert run(reaper, command("/bin/true"), tmp_path, wall=PATIENCE, check=True).ok


def test_a_script_that_signals_its_own_group_reaches_nobody_else(reaper: Reaper, tmp_path: Path) -> None:
    bystander = reaper.start(command("/bin/sleep", "1000", name="bystander"), tmp_path)
    assert run(reaper, command("/bin/sh", "-c", "kill -KILL 0"), tmp_path, wall=PATIENCE).signal == "SIGKILL"
    assert bystander.alive
    assert run(reaper, command("/bin/true"), tmp_path, wall=PATIENCE).ok


def test_a_killed_reaper_is_named(reaper: Reaper, tmp_path: Path) -> None:
    os.kill(reaper.pid, signal.SIGKILL)
    until(lambda: (seen := forkserver.look(reaper.pid)) is None or seen.zombie, "death of the reaper")
    with pytest.raises(ProcessError, match=f"reaper \\(pid {reaper.pid}\\) was killed by SIGKILL"):
        reaper.start(command("/bin/true"), tmp_path)
