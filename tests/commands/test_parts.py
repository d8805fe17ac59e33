"""The small parts of commands: closure of tasks, names, durations, doit's database, workers and their parents."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from doit.exceptions import InvalidCommand
from doit.task import Task

from bpfbench.commands.closure import closure
from bpfbench.commands.database import SafeJsonDB
from bpfbench.commands.durations import Expected, expected
from bpfbench.commands.names import nearest
from bpfbench.commands.plan import Entry, _few, told


def tasks(**after):
    return [Task(name, None, task_dep=list(needed)) for name, needed in after.items()]


def names(found):
    return [task.name for task in found]


def test_what_is_needed_comes_first_and_once():
    graph = tasks(a=[], b="a", c="a", d="bc", other=[])
    assert names(closure(graph, ["d"])) == ["a", "b", "c", "d"]
    assert names(closure(graph, ["c", "d"])) == ["a", "c", "b", "d"]
    assert names(closure(graph, ["[ab]*", "o*"])) == ["a", "b", "other"]


def test_a_chain_of_ten_thousand_tasks_is_no_problem():
    graph = [Task(str(n), None, task_dep=[str(n - 1)] if n else []) for n in range(10_000)]
    assert names(closure(graph, ["9999"])) == [str(n) for n in range(10_000)]


@pytest.mark.parametrize("name", ["runn_x", "q*"])
def test_what_is_no_task_is_refused(name):
    with pytest.raises(InvalidCommand, match="no task is called"):
        closure(tasks(run_x=[]), [name])


def test_a_suggestion_is_made_only_where_it_is_near():
    assert nearest("run_uprob", ["run_uprobe", "x"]) == ', did you mean "run_uprobe"?'
    assert nearest("zzz", ["run_uprobe"]) == ""


def step(meta=None, size=None, budget=None):
    item = None if meta is None else SimpleNamespace(meta=meta, manifest=SimpleNamespace(size=size))
    more = {} if budget is None else {"budget": lambda: budget}
    return SimpleNamespace(last_alike=lambda: item, **more)


def test_what_is_expected_comes_from_the_past_or_else_from_the_budget():
    assert expected(step({"wall": 3.5}, 100, budget=60.0)) == Expected(3.5, 100)
    assert expected(step(budget=60.0)) == Expected(60.0, None, bound=True)
    assert expected(step()) == Expected()
    assert expected(step({"wall": "long"}, 7)) == Expected(None, 7)


def test_of_many_tasks_that_one_waits_for_few_are_named():
    assert _few(["a", "b"]) == "a, b"
    assert _few([f"task{number}" for number in range(200)]) == "task0, task1, task2, task3, task4, task5 and 194 more"


def test_a_total_says_what_it_knows_and_what_not():
    entries = [
        Entry("a", True, "new", Expected(60.0, 1024)), Entry("b", True, "new", Expected(30.0, None, bound=True)),
        Entry("c", True, "new"), Entry("d", False, ""),
    ]  # fmt: skip
    *_, total = told(entries, 2**30)
    assert total == (
        "3 of 4 tasks would run; at most 1 min 30 s; 1 task of unknown length; disk: about 1.0 KiB, 1.0 GiB free"
    )
    assert "; about 1 min 00 s;" in told(entries[:1], 1)[-1]
    assert told(entries[3:], 1) == ["nothing to do: 1 task up to date"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe\x00"])
def test_a_lost_or_torn_database_counts_as_empty(tmp_path, content):
    path = tmp_path / "db"
    if content is not None:
        path.write_bytes(content)
    database = SafeJsonDB(str(path), codec_for(json))
    assert database.get("task", "x") is None
    database.set("task", "x", 1)
    database.dump()
    assert SafeJsonDB(str(path), codec_for(json)).get("task", "x") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["db"]


def codec_for(module):
    return SimpleNamespace(encode=module.dumps, decode=module.loads)


def test_a_database_that_cannot_be_written_ends_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    SafeJsonDB(str(tmp_path / "file" / "db"), codec_for(json)).dump()


FOLLOW = """
import os, sys, time
from bpfbench.commands.worker import follow_parent
main = os.getpid()
follow_parent(main)
worker = os.fork()
if worker == 0:
    try:
        follow_parent(main)
        print(os.getpid(), flush=True)
        time.sleep(1000)
    finally:
        os._exit(1)
time.sleep(1000)
"""


def test_a_worker_ends_with_its_parent_however_that_ends():
    parent = subprocess.Popen([sys.executable, "-c", FOLLOW], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(worker)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def test_a_worker_whose_parent_is_gone_already_stops_at_once(monkeypatch):
    from bpfbench.commands import worker

    monkeypatch.setattr(os, "getppid", lambda: 1)
    monkeypatch.setattr(worker.ctypes, "CDLL", lambda *a, **k: SimpleNamespace(prctl=lambda *a: 0))
    with pytest.raises(KeyboardInterrupt):
        worker.follow_parent(os.getpid() + 1)
