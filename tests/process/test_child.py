from __future__ import annotations

import os
import re
import resource
import time
from pathlib import Path

import pytest

from bpfbench.errors import BenchError
from bpfbench.process import forkserver
from bpfbench.process.errors import Died, NotStarted, ProcessError, TimedOut
from bpfbench.process.reaper import Reaper

from .conftest import PATIENCE, command, python, until

ECHO = "import sys\nprint('READY', flush=True)\nfor line in sys.stdin: print('got', line, end='', flush=True)"


def test_a_dialogue(reaper: Reaper, tmp_path: Path) -> None:
    child = reaper.start(python(ECHO, stdin=True), tmp_path)
    assert child.expect("READY", PATIENCE) == "READY"
    for number in range(20):
        child.send(f"run {number}")
        assert child.expect(r"got run \d+", PATIENCE) == f"got run {number}"
    child.close_stdin()
    assert child.wait(PATIENCE).ok
    assert not child.alive
    assert (tmp_path / "child.out").read_text().splitlines() == [
        "READY",
        *(f"got run {n}" for n in range(20)),
    ]


def test_expect_passes_over_other_lines_and_keeps_what_comes_later(
    reaper: Reaper, shell, tmp_path: Path
) -> None:
    child = reaper.start(shell("echo one; echo two; echo three; echo four; exec sleep 1000"), tmp_path)
    assert child.expect(re.compile("^t"), PATIENCE) == "two"
    assert child.expect("^t", PATIENCE) == "three"
    with pytest.raises(TimedOut, match="did not print '\\^t'"):
        child.expect("^t", 0.05)
    assert child.alive


def test_the_last_line_counts_without_a_newline_but_only_at_the_end(
    reaper: Reaper, shell, tmp_path: Path
) -> None:
    child = reaper.start(shell("printf READY; read go; exit 0", stdin=True), tmp_path)
    until(lambda: child.out.read_text() == "READY", "the half line")
    with pytest.raises(TimedOut, match="READY"):
        child.expect("READY", 0.05)
    child.send("go")
    assert child.expect("READY", PATIENCE) == "READY"


def test_a_child_that_dies_first_is_reported_with_its_last_words(
    reaper: Reaper, shell, tmp_path: Path
) -> None:
    child = reaper.start(shell("echo almost; echo 'no such map' >&2; exit 3"), tmp_path)
    with pytest.raises(Died, match="exited with status 3") as caught:
        child.expect("READY", PATIENCE)
    assert caught.value.exit.code == 3
    assert "almost" in str(caught.value)
    assert "no such map" in caught.value.tail


@pytest.mark.parametrize("name", ["SEGV", "ABRT", "KILL"])
def test_death_by_signal_has_a_name(reaper: Reaper, shell, tmp_path: Path, name: str) -> None:
    exit = reaper.start(shell(f"kill -{name} $$"), tmp_path).wait(PATIENCE)
    assert (exit.code, exit.signal) == (None, f"SIG{name}")


def test_invalid_utf8_is_read_and_logged_as_it_is(reaper: Reaper, shell, tmp_path: Path) -> None:
    child = reaper.start(shell(r"printf '\377\376 READY\n'"), tmp_path)
    assert "READY" in child.expect("READY", PATIENCE)
    child.wait(PATIENCE)
    assert child.out.read_bytes() == b"\xff\xfe READY\n"


def test_a_flood_does_not_block_while_another_child_is_awaited(reaper: Reaper, shell, tmp_path: Path) -> None:
    flood = reaper.start(python(FLOOD, name="flood"), tmp_path)
    # The other one ends only after the whole flood was written: stuck in a pipe, that would never be.
    other = reaper.start(
        shell(f"until grep -q done {tmp_path}/flood.err; do sleep 0.02; done", name="other"), tmp_path
    )
    assert other.wait(PATIENCE).ok
    assert flood.expect("LAST", PATIENCE) == "LAST"
    assert flood.wait(PATIENCE).ok
    assert flood.out.stat().st_size == 80000 * 100 + 5


FLOOD = """
import sys
for _ in range(800): sys.stdout.write(('y' * 99 + '\\n') * 100)
print('LAST', flush=True)
print('done', file=sys.stderr, flush=True)
"""


def test_closing_stdout_is_not_the_end(reaper: Reaper, shell, tmp_path: Path) -> None:
    child = reaper.start(shell("echo READY; exec >&- 2>&-; read go; exit 7", stdin=True), tmp_path)
    child.expect("READY", PATIENCE)
    with pytest.raises(TimedOut):
        child.wait(0.1)
    assert child.alive
    child.send("go")
    assert child.wait(PATIENCE).code == 7


def test_without_stdin_a_child_reads_end_of_file(reaper: Reaper, tmp_path: Path) -> None:
    child = reaper.start(command("/bin/cat"), tmp_path)
    assert child.wait(PATIENCE).ok
    with pytest.raises(ProcessError, match="no open stdin"):
        child.send("x")


def test_sending_to_the_dead_says_how_they_died(reaper: Reaper, shell, tmp_path: Path) -> None:
    child = reaper.start(shell("kill -SEGV $$", stdin=True), tmp_path)
    until(lambda: not child.alive, "the end")
    with pytest.raises(ProcessError):
        child.send("run")
    child = reaper.start(shell("kill -SEGV $$", stdin=True), tmp_path)
    until(lambda: (seen := forkserver.look(child.pid)) is None or seen.zombie, "the end, not noticed")
    with pytest.raises(Died, match="SIGSEGV"):
        child.send("run")


def test_a_child_that_reads_nothing_does_not_block_us(
    reaper: Reaper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpfbench.process.child.SEND_DEADLINE", 0.1)
    child = reaper.start(command("/bin/sleep", "1000", stdin=True), tmp_path)
    with pytest.raises(TimedOut, match="does not read"):
        child.send("x" * (1 << 20))


def test_file_mode_keeps_both_streams_in_order(reaper: Reaper, shell, tmp_path: Path) -> None:
    child = reaper.start(
        shell("for i in 1 2 3; do echo out $i; echo err $i >&2; done", stdout="file"), tmp_path
    )
    child.wait(PATIENCE)
    expected = [f"{stream} {number}" for number in (1, 2, 3) for stream in ("out", "err")]
    assert child.out.read_text().splitlines() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["sh.out"]


def test_the_environment_is_what_was_given_and_the_mark(reaper: Reaper, mark: str, tmp_path: Path) -> None:
    reaper.start(command("/usr/bin/env"), tmp_path).wait(PATIENCE)
    lines = set((tmp_path / "child.out").read_text().splitlines())
    assert lines == {*(f"{k}={v}" for k, v in command("x").env.items()), f"BPFBENCH_MARK={mark}"}


def test_cpu_placement(reaper: Reaper, tmp_path: Path) -> None:
    some = max(os.sched_getaffinity(0))
    child = reaper.start(command("/bin/cat", "/proc/self/status", cpus=frozenset({some})), tmp_path)
    child.wait(PATIENCE)
    assert re.search(rf"Cpus_allowed_list:\s+{some}\n", child.out.read_text())


def test_impossible_cpus_are_named(reaper: Reaper, tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match=r"CPUs \[100000\]"):
        reaper.start(command("/bin/true", cpus=frozenset({100000})), tmp_path)


def test_what_cannot_be_executed_is_named(reaper: Reaper, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("text")
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    cases = {
        "/no/such/program": "No such file",
        str(plain): "Permission denied",
        str(tmp_path): "Permission denied",
        str(script): "interpreter",
        "no-such-command": "no program no-such-command in",
    }
    for path, reason in cases.items():
        with pytest.raises(NotStarted, match=re.escape(path)) as caught:
            reaper.start(command(path), tmp_path / "logs")
        assert reason in str(caught.value)
    with pytest.raises(NotStarted, match="/no/such/directory"):
        reaper.start(command("/bin/true", cwd=Path("/no/such/directory")), tmp_path / "logs")
    assert reaper.start(command("true"), tmp_path / "logs").wait(PATIENCE).ok


def test_a_very_long_command_line_arrives(reaper: Reaper, tmp_path: Path) -> None:
    words = ["x" * 1000] * 1000
    child = reaper.start(command("/bin/echo", *words), tmp_path)
    assert child.expect("^x", PATIENCE) == " ".join(words)[: len(child.out.read_text()) - 1]
    assert child.wait(PATIENCE).ok


def test_private_mounts_vanish_with_their_tree(reaper: Reaper, shell, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a mount namespace needs root")
    point = tmp_path / "point"
    point.mkdir()
    script = f"mount -t tmpfs none {point} && touch {point}/inside && echo READY && exec sleep 1000"
    child = reaper.start(shell(script, private_mounts=True), tmp_path)
    child.expect("READY", PATIENCE)
    assert list(point.iterdir()) == []
    assert Path(f"/proc/{child.pid}/root{point}/inside").exists()
    child.stop()
    assert list(point.iterdir()) == []


WORK = """
import time
memory = bytearray(64 << 20)
while time.process_time() < 0.2: pass
"""


def test_resources_are_reported(reaper: Reaper, tmp_path: Path) -> None:
    exit = reaper.start(python(WORK), tmp_path).wait(PATIENCE)
    assert exit.max_rss_kib > 64 << 10
    assert exit.user + exit.system >= 0.15
    assert exit.wall >= 0.15


def test_nobody_computes_while_a_child_is_awaited(reaper: Reaper, tmp_path: Path) -> None:
    """Waiting is sleeping: a waiting harness, reaper and supervisor are not even scheduled."""
    child = reaper.start(command("/bin/sleep", "1000", stdin=True), tmp_path)
    seen = forkserver.look(child.pid)
    assert seen
    servers = (reaper.pid, seen.parent)
    time.sleep(0.1)
    before = [_switches(pid) for pid in servers], resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    with pytest.raises(TimedOut):
        child.wait(0.4)
    with pytest.raises(TimedOut):
        child.expect("READY", 0.4)
    after = [_switches(pid) for pid in servers], resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    assert after[0] == before[0]
    assert after[1] - before[1] < 10


def _switches(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[0])


def test_expect_works_without_inotify(
    reaper: Reaper, shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> None:
        raise OSError(24, "no instance left")

    monkeypatch.setattr("bpfbench.process.reaper.Bell", none_left)
    child = reaper.start(shell("sleep 0.1; echo READY; exec sleep 1000"), tmp_path)
    assert child.expect("READY", PATIENCE) == "READY"


def test_two_live_children_cannot_share_a_log(reaper: Reaper, tmp_path: Path) -> None:
    first = reaper.start(command("/bin/sleep", "1000"), tmp_path)
    with pytest.raises(BenchError, match="still runs"):
        reaper.start(command("/bin/true"), tmp_path)
    assert first.alive
    first.stop()
    assert reaper.start(command("/bin/true"), tmp_path).wait(PATIENCE).ok
