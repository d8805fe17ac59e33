"""A worker of ``doit -n 2`` that is killed ends the run, whatever that does at the moment."""

from __future__ import annotations

import subprocess
import sys

KILLED = """
import multiprocessing, os, signal, sys, time
from bpfbench.commands.worker import WorkerKilled, end_workers, notice_killed_workers

def stay(deaf):
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("there", flush=True)
    time.sleep(1000)

fork = multiprocessing.get_context("fork")
read, write = os.pipe()
os.dup2(write, 1)
workers = [fork.Process(target=stay, args=(deaf,)) for deaf in (False, True)]
for worker in workers:
    worker.start()
said = b""
while said.count(b"there") < 2:
    said += os.read(read, 1 << 10)
notice_killed_workers()
try:
    try:
        os.kill(workers[0].pid, signal.SIGKILL)
        time.sleep(1000)
    except Exception:  # as one who looks for an item takes every error for "it is not there"
        sys.stderr.write("taken for an answer")
except WorkerKilled as killed:
    sys.stderr.write(str(killed))
    workers[1].terminate()
    end_workers(0.5)
    sys.stderr.write(f" and then {workers[1].exitcode}")
"""


def test_a_worker_that_was_killed_is_no_error_that_anybody_may_take_for_an_answer():
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "a worker process was killed by SIGKILL and then -9"
