from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from bpfbench.errors import BenchError
from bpfbench.process import forkserver
from bpfbench.process.batch import run
from bpfbench.process.errors import NotStarted
from bpfbench.process.reaper import Reaper

from .conftest import PATIENCE, alive, command, members, python, tree_command, until, until_gone


def test_no_descriptor_leaks_into_a_child(reaper: Reaper, tmp_path: Path) -> None:
    others = [
        reaper.start(command("/bin/cat", name=f"other{number}", stdin=True), tmp_path) for number in range(3)
    ]
    child = reaper.start(command("/bin/cat", stdin=True), tmp_path)
    deadline = time.monotonic() + 10
    for process in (*others, child):
        # Its own loader has a library open for a moment after the start.
        while len(list(Path(f"/proc/{process.pid}/fd").iterdir())) > 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        links = {path.name: str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
        assert set(links) == {"0", "1", "2"}
        assert links["0"].startswith("pipe:")
        assert (links["1"], links["2"]) == (str(process.out), str(process.err))


def test_a_child_starts_with_clean_signals(reaper: Reaper, tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    try:
        with Reaper(reaper.mark) as masked:
            run(masked, command("/bin/cat", "/proc/self/status"), tmp_path, wall=PATIENCE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    status = dict(
        line.split(":\t", 1) for line in (tmp_path / "child.out").read_text().splitlines() if ":\t" in line
    )
    assert int(status["SigBlk"], 16) == 0
    assert int(status["SigIgn"], 16) == 0


def test_no_zombies_and_no_descriptors_after_many_launches(reaper: Reaper, tmp_path: Path) -> None:
    run(reaper, command("/bin/true"), tmp_path, wall=PATIENCE)
    before = _fds(os.getpid()), _fds(reaper.pid)
    for _ in range(60):
        run(reaper, command("/bin/sh", "-c", "sleep 1000 & exit 0"), tmp_path, wall=PATIENCE)
    assert len([p for p in forkserver.processes() if p.parent == reaper.pid]) == 1, (
        "one supervisor did it all"
    )
    assert (_fds(os.getpid()), _fds(reaper.pid)) == before
    assert not [p for p in forkserver.processes() if p.parent == os.getpid() and p.zombie]


def test_a_free_supervisor_that_was_killed_is_replaced(reaper: Reaper, tmp_path: Path) -> None:
    run(reaper, command("/bin/true"), tmp_path, wall=PATIENCE)
    (supervisor,) = (p for p in forkserver.processes() if p.parent == reaper.pid)
    os.kill(supervisor.pid, signal.SIGKILL)
    until_gone([supervisor])
    assert run(reaper, command("/bin/true"), tmp_path, wall=PATIENCE).ok


def test_stopping_at_the_moment_of_the_end_does_not_touch_the_next(reaper: Reaper, tmp_path: Path) -> None:
    for _ in range(30):
        child = reaper.start(command("/bin/true"), tmp_path)
        child.stop(0)
        next_one = reaper.start(command("/bin/sh", "-c", "sleep 0.01; exit 7", name="next"), tmp_path)
        assert next_one.wait(PATIENCE).code == 7


def test_a_command_that_could_not_start_costs_no_supervisor(reaper: Reaper, tmp_path: Path) -> None:
    for _ in range(3):
        with pytest.raises(NotStarted):
            reaper.start(command("/no/such/program"), tmp_path)
    assert run(reaper, command("/bin/true"), tmp_path, wall=PATIENCE).ok
    assert len([p for p in forkserver.processes() if p.parent == reaper.pid]) == 1


def _fds(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_the_dead_in_a_living_tree_are_collected(reaper: Reaper, tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do (setsid true &); done; echo READY; exec sleep 1000"
    child = reaper.start(command("/bin/sh", "-c", script), tmp_path)
    child.expect("READY", PATIENCE)
    supervisor = forkserver.look(child.pid)
    assert supervisor
    until(
        lambda: [p.pid for p in forkserver.processes() if p.parent == supervisor.parent] == [child.pid],
        "adopted orphans to be collected",
    )


def test_a_forked_copy_of_the_harness_owns_nothing(mark: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    release, hold = context.Event(), context.Event()
    answers = context.Queue()
    pids = tmp_path / "pids"
    pids.mkdir()

    def worker() -> None:
        complaints = []
        for attempt in (
            lambda: reaper.start(command("/bin/true", name="mine"), tmp_path),
            child.stop,
            lambda: child.expect("READY", 1),
        ):
            try:
                attempt()
            except BenchError as error:
                complaints.append(str(error))
        reaper.close()
        with Reaper(mark) as own:
            code = run(own, command("/bin/sh", "-c", "exit 9", name="own"), tmp_path, wall=PATIENCE).code
        sockets = [path for path in Path("/proc/self/fd").iterdir() if _is_socket(path)]
        answers.put((complaints, code, len(sockets)))
        release.set()
        hold.wait(PATIENCE)

    sockets = len([path for path in Path("/proc/self/fd").iterdir() if _is_socket(path)])
    with Reaper(mark) as reaper:
        child = reaper.start(tree_command(pids), tmp_path)
        child.expect("READY", PATIENCE)
        tree = members(pids)
        process = context.Process(target=worker)
        process.start()
        complaints, code, copied = answers.get(timeout=PATIENCE)
        assert len(complaints) == 3
        assert all(f"belongs to process {os.getpid()}" in complaint for complaint in complaints)
        assert code == 9
        assert copied == sockets, "the copy holds none of our sockets open"
        assert child.alive
        assert len(alive(tree)) == 4
    assert not alive(tree), "though the copy still lives"
    assert process.is_alive()
    hold.set()
    process.join(PATIENCE)
    assert process.exitcode == 0


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except FileNotFoundError:
        return False


def test_a_killed_harness_is_noticed_though_a_fork_of_it_lives_on(mark: str, tmp_path: Path) -> None:
    """A fork made behind Python's back keeps even our sockets open: death is seen by pidfd."""
    pids = tmp_path / "pids"
    pids.mkdir()
    read, write = os.pipe()
    harness = os.fork()
    if harness == 0:
        with Reaper(mark) as reaper:
            child = reaper.start(tree_command(pids), tmp_path)
            child.expect("READY", PATIENCE)
            copy = _raw_fork()
            if copy:
                os.write(write, b"%d %d" % (reaper.pid, copy))
            signal.pause()
    reaper_pid, copy = map(int, os.read(read, 100).split())
    os.close(read)
    os.close(write)
    tree = members(pids)
    server = forkserver.look(reaper_pid)
    assert server
    assert any(_is_socket(path) for path in Path(f"/proc/{copy}/fd").iterdir())
    try:
        os.kill(harness, signal.SIGKILL)
        os.waitpid(harness, 0)
        until_gone([*tree, server])
    finally:
        os.kill(copy, signal.SIGKILL)


def _raw_fork() -> int:
    """Fork without Python's hooks."""
    import ctypes

    return int(ctypes.PyDLL(None).fork())


def test_a_reaper_must_be_open(mark: str, tmp_path: Path) -> None:
    reaper = Reaper(mark)
    with pytest.raises(BenchError, match="not open"):
        reaper.start(command("/bin/true"), tmp_path)
    reaper.close()
    with reaper:
        run(reaper, command("/bin/true"), tmp_path, wall=PATIENCE)
    reaper.close()
    with pytest.raises(BenchError, match="not open"):
        reaper.start(command("/bin/true"), tmp_path)


@pytest.mark.parametrize("mark", ["", "a\0b", "a\nb"])
def test_a_mark_must_be_a_name(mark: str) -> None:
    with pytest.raises(BenchError):
        Reaper(mark)


def test_the_server_imports_nothing_of_the_package(reaper: Reaper, tmp_path: Path) -> None:
    """It is started from its file alone, isolated from the environment and from site-packages."""
    assert run(reaper, python("print('ok')"), tmp_path, wall=PATIENCE).ok
    words = Path(f"/proc/{reaper.pid}/cmdline").read_bytes().split(b"\0")
    assert {b"-I", b"-S"} <= set(words)
    environment = Path(f"/proc/{reaper.pid}/environ").read_bytes()
    assert environment == f"BPFBENCH_MARK={reaper.mark}\0".encode()
