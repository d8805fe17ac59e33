import os
import re
import signal
import time

import pytest

from bpfbench.errors import BenchError
from bpfbench.store.locks import CheckoutLock, Flock, MachineLock

from .breaking import become_nobody


@pytest.fixture
def machine(tmp_path):
    for name in ("gate", "lock"):
        (tmp_path / name).mkdir()
    return MachineLock(tmp_path / "gate", tmp_path / "lock")


class Once:
    """Says a word the first time that a lock makes its taker wait."""

    def __init__(self, line, word):
        self.line, self.word, self.waits = line, word, []

    def __call__(self, seconds):
        if not self.waits:
            self.line.say(self.word)
        self.waits.append(seconds)


def must_not_wait(seconds):
    raise AssertionError("somebody holds it")


def holder(how, line, go, name):
    """The work of a child that takes a lock, says what happens, and holds it until it is told to go."""

    def work():
        with how(Once(line, f"{name} waits")):
            line.say(f"{name} has it")
            assert go.hear() == "go"
            line.say(f"{name} lets go")

    return work


def test_many_may_share_it(machine, children, line):
    heard, go = line(), line()
    pids = [children.start(holder(machine.shared, heard, go, "s")) for _ in range(3)]
    assert [heard.hear() for _ in pids] == ["s has it"] * 3
    with machine.shared(), machine.shared():
        pass
    for _ in pids:
        go.say("go")
    assert [children.end(pid) for pid in pids] == [0, 0, 0]


@pytest.mark.parametrize("first", ["shared", "exclusive"])
@pytest.mark.parametrize("second", ["shared", "exclusive"])
def test_who_waits_for_whom(machine, children, line, first, second):
    heard, go = line(), line()
    pid = children.start(holder(getattr(machine, first), heard, go, "a"))
    assert heard.hear() == "a has it"
    other = children.start(holder(getattr(machine, second), heard, go, "b"))
    if first == second == "shared":
        assert heard.hear() == "b has it"
        go.say("go")
        go.say("go")
    else:
        assert heard.hear() == "b waits"
        go.say("go")
        assert [heard.hear(), heard.hear()] == ["a lets go", "b has it"]
        go.say("go")
    assert children.end(pid) == children.end(other) == 0


def test_a_waiting_exclusive_holds_back_new_shared_ones(machine, children, line):
    heard, go_early, go_alone, go_late = line(), line(), line(), line()
    early = children.start(holder(machine.shared, heard, go_early, "early"))
    assert heard.hear() == "early has it"
    alone = children.start(holder(machine.exclusive, heard, go_alone, "alone"))
    assert heard.hear() == "alone waits"
    late = children.start(holder(machine.shared, heard, go_late, "late"))
    assert heard.hear() == "late waits"
    go_early.say("go")
    assert [heard.hear(), heard.hear()] == ["early lets go", "alone has it"]
    go_alone.say("go")
    assert [heard.hear(), heard.hear()] == ["alone lets go", "late has it"]
    go_late.say("go")
    assert [children.end(pid) for pid in (early, alone, late)] == [0, 0, 0]


@pytest.mark.parametrize("how", ["shared", "exclusive"])
def test_a_killed_holder_lets_go(machine, children, line, how):
    heard, go = line(), line()
    pid = children.start(holder(getattr(machine, how), heard, go, "a"))
    assert heard.hear() == "a has it"
    children.kill(pid)
    with machine.exclusive(must_not_wait):
        pass


def test_a_killed_waiter_holds_nobody_back(machine, children, line):
    heard, go = line(), line()
    with machine.shared():
        pid = children.start(holder(machine.exclusive, heard, go, "alone"))
        assert heard.hear() == "alone waits"
        children.kill(pid)
        with machine.shared(must_not_wait):
            pass


def test_it_is_let_go_when_the_work_fails(machine):
    for how in (machine.shared, machine.exclusive):
        with pytest.raises(ZeroDivisionError), how():
            _ = 1 / 0
    with machine.exclusive(must_not_wait):
        pass


def test_forks_and_commands_do_not_keep_it(machine, children, line):
    heard, go = line(), line()
    with machine.exclusive():
        pid = children.start(lambda: (heard.say("alive"), go.hear()))
        sleeper = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        assert heard.hear() == "alive"
    try:
        with machine.exclusive(must_not_wait):
            pass
    finally:
        os.kill(sleeper, signal.SIGKILL)
        os.waitpid(sleeper, 0)
    go.say("go")
    assert children.end(pid) == 0


def test_a_fork_inside_does_not_let_go_for_its_parent(machine, children, line):
    heard, go = line(), line()
    with machine.exclusive():

        def child_leaves_the_context():
            pass

        assert children.run(child_leaves_the_context) == 0
        other = children.start(holder(machine.shared, heard, go, "other"))
        assert heard.hear() == "other waits"
    assert heard.hear() == "other has it"
    go.say("go")
    assert children.end(other) == 0


def test_users_share_it(public, children, line):
    for name in ("gate", "lock"):
        (public / name).mkdir()
        (public / name).chmod(0o755)
    machine, heard, go = MachineLock(public / "gate", public / "lock"), line(), line()

    def nobody():
        become_nobody()
        holder(machine.exclusive, heard, go, "nobody")()

    pid = children.start(nobody)
    assert heard.hear() == "nobody has it"
    waits = []
    with machine.shared(lambda seconds: waits or waits.append(go.say("go"))):
        assert heard.hear() == "nobody lets go"
    assert waits and children.end(pid) == 0


def test_the_waiting_time_is_told(machine, children, line):
    heard, go = line(), line()
    pid = children.start(holder(machine.exclusive, heard, go, "a"))
    assert heard.hear() == "a has it"
    told = []

    def on_wait(seconds):
        told.append(seconds)
        if len(told) == 3:
            go.say("go")

    with machine.shared(on_wait):
        assert told == sorted(told) and len(set(told)) == len(told) >= 3 and told[0] >= 0
    assert children.end(pid) == 0


def test_the_real_one_is_there_for_every_user_and_the_same_for_all(children):
    machine = MachineLock()
    assert machine == MachineLock() and not machine.gate.samefile(machine.lock)

    def open_both():
        if os.geteuid() == 0:
            become_nobody()
        with Flock(machine.gate), Flock(machine.lock):  # opened only: somebody may be measuring
            pass

    assert children.run(open_both) == 0


def test_without_the_directories_the_error_says_what_to_do(tmp_path):
    with pytest.raises(BenchError, match="mount sysfs"), MachineLock(tmp_path / "no", tmp_path).shared():
        pass


# One command per checkout


def test_the_second_command_is_told_about_the_first(tmp_path, children, line):
    path = tmp_path / ".bench" / "lock"
    heard, go = line(), line()

    def first():
        with CheckoutLock(path, "doit run_uprobe"):
            heard.say("in")
            assert go.hear() == "go"

    before = int(time.time())
    pid = children.start(first)
    assert heard.hear() == "in"
    with pytest.raises(BenchError) as error, CheckoutLock(path, "doit"):
        pass
    found = re.fullmatch(
        r"this checkout is in use by `doit run_uprobe` \(pid (\d+), since (.+)\)", error.value.message
    )
    assert found and int(found[1]) == pid and error.value.hint
    since = time.mktime(time.strptime(found[2], "%Y-%m-%d %H:%M:%S"))
    assert before <= since <= time.time()
    go.say("go")
    assert children.end(pid) == 0
    assert not path.exists()
    with CheckoutLock(path, "doit"):
        assert path.exists()


def test_it_is_not_stale_after_kill_9(tmp_path, children, line):
    path = tmp_path / "lock"
    heard = line()

    def first():
        with CheckoutLock(path, "doit"):
            heard.say("in")
            signal.pause()

    pid = children.start(first)
    assert heard.hear() == "in"
    children.kill(pid)
    assert path.exists()
    with CheckoutLock(path, "doit list"):
        assert b"doit list" in path.read_bytes()


def test_forked_workers_do_not_keep_it_nor_end_it(tmp_path, children, line):
    path = tmp_path / "lock"
    heard, go = line(), line()
    with CheckoutLock(path, "doit -n 2"):
        pid = children.start(lambda: (heard.say("alive"), go.hear()))
        assert heard.hear() == "alive" and path.exists()
        with pytest.raises(BenchError, match="doit -n 2"), CheckoutLock(path, "doit"):
            pass
    with CheckoutLock(path, "doit"):
        go.say("go")
        assert children.end(pid) == 0 and path.exists()


def test_a_worker_that_leaves_the_block_does_not_unlock(tmp_path):
    path = tmp_path / "lock"
    lock = CheckoutLock(path, "doit")
    with lock:
        pid = os.fork()
        if pid == 0:
            lock.__exit__(None, None, None)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert path.exists()
        with pytest.raises(BenchError), CheckoutLock(path, "other"):
            pass


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"pid": 1}', b'{"pid": 1, "command": "x", "since": "now"}']
)
def test_an_unreadable_signature_makes_no_difference(tmp_path, text):
    path = tmp_path / "lock"
    with CheckoutLock(path, "doit"):
        path.write_bytes(text)
        with (
            pytest.raises(BenchError, match="another command that has just started"),
            CheckoutLock(path, "x"),
        ):
            pass


def test_a_checkout_that_cannot_be_written(public, children):
    public.chmod(0o755)

    def nobody():
        become_nobody()
        with (
            pytest.raises(BenchError, match="Permission denied"),
            CheckoutLock(public / ".bench" / "lock", "doit"),
        ):
            pass
        with pytest.raises(BenchError, match="Permission denied"), CheckoutLock(public / "lock", "doit"):
            pass

    assert children.run(nobody) == 0
