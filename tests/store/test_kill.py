"""kill -9 at every system call of a maker: what is seen is whole, and the next one succeeds and tidies up."""

import os
import shutil
import signal
import subprocess
import sys

from bpfbench.store.store import Store

from .breaking import fill, overwrite, rubbish

WRITES = {"write", "flush", "close"}


def kill_before_call(number):
    """Let this process be killed just before its ``number``-th call into the system from now on."""
    seen = 0

    def profile(frame, event, function):
        nonlocal seen
        if event != "c_call":
            return
        if (
            getattr(function, "__module__", None) in ("posix", "fcntl", "_ctypes")
            or function.__name__ in WRITES
        ):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)


def killed_everywhere(children, prepare, work, step=1, least=20):
    """Yield what ``prepare`` returns after ``work`` on it was killed at call 1, 1 + step, …"""
    number = 1
    while True:
        subject = prepare(number)

        def child(subject=subject, number=number):
            kill_before_call(number)
            work(subject)

        status = children.run(child)
        if status == 0:
            assert number > least  # it really was killed often
            return
        assert status == -signal.SIGKILL
        yield number, subject
        number += step


def test_a_killed_maker_leaves_nothing_that_is_seen_and_nothing_after_a_sweep(tmp_path, key, children):
    def prepare(number):
        return Store(tmp_path / str(number))

    states = set()
    for number, store in killed_everywhere(children, prepare, lambda store: store.realise(key, fill)):
        status = store.status(key)
        states.add(status.state)
        assert status.state in ("absent", "intact")
        assert store.ids() == ([key.id] if status.state == "intact" else [])
        if number % 2:  # with and without tidying up first
            store.sweep()
            assert rubbish(store) == []
        assert store.verify(store.realise(key, fill)) == []
        store.sweep()
        assert rubbish(store) == [] and store.ids() == [key.id]
    assert states == {"absent", "intact"}


def test_a_killed_replacement_of_a_damaged_item(tmp_path, key, children):
    def prepare(number):
        store = Store(tmp_path / str(number))
        overwrite(store.realise(key, fill).tree / "data", b"S")
        return store

    states = set()
    for _, store in killed_everywhere(children, prepare, lambda store: store.realise(key, fill), step=3):
        states.add(store.status(key).state)
        assert store.verify(store.realise(key, fill)) == []
        store.sweep()
        assert rubbish(store) == []
    assert {"damaged", "intact"} <= states


def test_a_killed_refresh_of_a_manifest(tmp_path, key, children):
    model = Store(tmp_path / "model")
    model.realise(key, fill)

    def prepare(number):
        store = Store(tmp_path / str(number))
        shutil.copytree(model.root, store.root, symlinks=True)
        return store

    for _, store in killed_everywhere(children, prepare, lambda store: store.find(key)):
        assert store.status(key).state == "intact"
        store.sweep()
        assert rubbish(store) == [] and store.find(key)


SLOW_MAKER = """
import sys, subprocess
from pathlib import Path
from bpfbench.store.keys import make_key
from bpfbench.store.store import Store

def make(tree):
    # An orphan that goes on writing to where it was told to, as compilers do when their build is killed.
    loop = 'while :; do mkdir -p "$0" && echo rubbish > "$0/orphan" || exit; sleep 0.01; done'
    subprocess.Popen(["sh", "-c", loop, str(tree)], stdout=subprocess.DEVNULL)
    (tree / "half").write_text("half")
    print("half made", flush=True)
    sys.stdin.read()

Store(Path(sys.argv[1])).realise(make_key("thing", {"recipe": "test", "version": 1}), make)
"""


def test_orphans_of_a_killed_maker_do_not_spoil_the_next_one(store, key):
    maker = subprocess.Popen(
        [sys.executable, "-c", SLOW_MAKER, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert maker.stdout.readline() == b"half made\n"
        os.kill(maker.pid, signal.SIGKILL)
        maker.wait()
        item = store.realise(key, fill)
        assert not (item.tree / "orphan").exists() and store.verify(item) == []
    finally:
        os.killpg(maker.pid, signal.SIGKILL)  # the session that was started above: the orphan
        maker.stdin.close()
        maker.stdout.close()
    store.sweep()
    assert [item.id for item in store.items()] == [key.id]


def test_a_sweep_leaves_a_living_maker_alone(store, key, children, line):
    ready, go = line(), line()

    def make(tree):
        fill(tree)
        ready.say("making")
        assert go.hear() == "go"

    pid = children.start(lambda: store.realise(key, make))
    assert ready.hear() == "making"
    assert store.sweep() == [] and len(rubbish(store)) == 1
    go.say("go")
    assert children.end(pid) == 0
    assert store.find(key) and rubbish(store) == []
