"""Well-known programs with much-used functions and all system calls hooked, and injection into running ones."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from .hooklib import Built, build_library


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return the hook library and the one that hooks when it is preloaded."""
    return build_library(tmp_path_factory.mktemp("hook"))


class Hooked:
    """Environment of a program with hooks, and what it said about them when it ended."""

    def __init__(self, built: Built, place: Path) -> None:
        self._place = place
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(place), "LC_ALL": "C",
            "LD_PRELOAD": str(built.preload), "PRELOAD_REPORT": str(place / "report"),
        }
        self.bare = {name: value for name, value in self.environment.items() if name != "LD_PRELOAD"}

    def check(self, least: int) -> None:
        """At least so many functions' entries were hit, and every return but those of calls that never do."""
        best = 0
        for report in self._place.glob("report.*"):
            numbers = re.findall(r"\d+", report.read_text())
            hooked, entries, returns, calls, _missed = map(int, numbers)
            assert hooked > 20
            assert entries >= returns
            assert calls > 0
            best = max(best, entries)
        assert best >= least


@pytest.fixture
def hooked(built: Built, tmp_path: Path) -> Hooked:
    return Hooked(built, tmp_path)


def output(argv: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout


PYTHON = """
import collections, decimal, hashlib, json, random, re, subprocess, tempfile, threading, zlib
random.seed(7)
data = json.dumps([{"key": n, "text": str(n) * 3, "real": random.random()} for n in range(20000)])
print(hashlib.sha256(zlib.compress(data.encode())).hexdigest(), len(re.findall(r"[0-9]+", data)))
sums = []
threads = [threading.Thread(target=lambda: sums.append(sum(n * n for n in range(100000)))) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sums, decimal.Decimal(2).sqrt(), subprocess.run(["sh", "-c", "echo child; exit 3"], capture_output=True))
with tempfile.TemporaryFile() as file:
    file.write(data.encode()); file.seek(0); print(collections.Counter(file.read()).most_common(3))
try:
    [][1]
except IndexError as error:
    print(error)
def deep(n): return deep(n + 1)
try:
    deep(0)
except RecursionError as error:
    print(error)
"""


def test_python(hooked: Hooked) -> None:
    argv = [sys.executable, "-I", "-c", PYTHON]
    assert output(argv, hooked.environment) == output(argv, hooked.bare)
    hooked.check(10000)


NODE = """
const zlib = require('zlib'), crypto = require('crypto'), fs = require('fs'), child = require('child_process');
const { Worker } = require('worker_threads');
let text = ''; for (let i = 0; i < 30000; i++) text += i * i;
console.log(crypto.createHash('sha256').update(zlib.deflateSync(text)).digest('hex'));
console.log(child.execFileSync('sh', ['-c', 'echo child']).toString());
const worker = new Worker(
  'let s = 0; for (let i = 0; i < 1e6; i++) s += i; require("worker_threads").parentPort.postMessage(s)', { eval: true });
worker.on('message', (sum) => fs.readFile('/etc/hostname', (error, data) => console.log(sum, error, data.length > 0)));
"""


def test_node(hooked: Hooked) -> None:
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    argv = ["node", "-e", NODE]
    assert output(argv, hooked.environment) == output(argv, hooked.bare)
    hooked.check(10000)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(argv: list[str], environment: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, wait until it listens, and have it end in order."""
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                assert process.poll() is None
                with closing(socket.socket()) as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield process
            assert process.poll() is None
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def ask(port: int, words: bytes, until: bytes) -> bytes:
    """Send and return all that comes until it ends with ``until``, or, when that is empty, to the end."""
    with closing(socket.create_connection(("127.0.0.1", port), 30)) as connection:
        connection.sendall(words)
        answer = b""
        while not until or not answer.endswith(until):
            got = connection.recv(65536)
            if not got:
                break
            answer += got
        return answer


def find(name: str) -> str:
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def test_nginx(hooked: Hooked, tmp_path: Path) -> None:
    nginx, port = find("nginx"), free_port()
    (tmp_path / "page.txt").write_text("a page\n" * 3000)
    tmp_path.chmod(0o755)
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"{'user root; ' if os.geteuid() == 0 else ''}"
        f"daemon off; worker_processes 2; pid {tmp_path}/pid; error_log {tmp_path}/errors; env LD_PRELOAD; "
        f"env PRELOAD_REPORT; events {{}} http {{ access_log off; gzip on; gzip_types text/plain; "
        f"types {{ text/plain txt; }} {''.join(f'{kind}_temp_path {tmp_path}/{kind}; ' for kind in TEMPORARY)} "
        f"server {{ listen 127.0.0.1:{port}; root {tmp_path}; }} }}"
    )
    request = b"GET /page.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n"
    with server([nginx, "-c", str(config), "-p", str(tmp_path)], hooked.environment, port) as process:
        for _ in range(40):
            answer = ask(port, request % b"", b"")
            assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
            assert answer.endswith(b"\r\n\r\n" + b"a page\n" * 3000)
            packed = ask(port, request % b"Accept-Encoding: gzip\r\n", b"")
            assert b"Content-Encoding: gzip" in packed
        process.send_signal(1)  # new workers
        time.sleep(0.5)
        assert ask(port, request % b"", b"").startswith(b"HTTP/1.1 200")
    assert "signal 11" not in (tmp_path / "errors").read_text()
    hooked.check(1000)


TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def test_redis(hooked: Hooked, tmp_path: Path) -> None:
    redis, port = find("redis-server"), free_port()
    argv = [redis, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", "", "--appendonly", "yes"]
    with server(argv, hooked.environment, port):
        for n in range(100):
            word = f"value {n}".encode()
            assert ask(port, b"SET key%d \"%s\"\r\n" % (n, word), b"\r\n") == b"+OK\r\n"
            assert ask(port, b"GET key%d\r\n" % n, b"\r\n").endswith(b"\r\n%s\r\n" % word)
        assert ask(port, b"EVAL \"return redis.call('DBSIZE')\" 0\r\n", b"\r\n") == b":100\r\n"
        assert ask(port, b"BGREWRITEAOF\r\n", b"\r\n").startswith(b"+Background")
        time.sleep(0.5)
        assert ask(port, b"DBSIZE\r\n", b"\r\n") == b":100\r\n"
    hooked.check(3000)


VICTIM = """
import sys, threading, time
stop = threading.Event()
counts = [0] * 3
def work(i):
    while not stop.is_set():
        counts[i] += sum(range(100)) == 4950
        time.sleep(0)
threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
[thread.start() for thread in threads]
print("ready", flush=True)
sys.stdin.readline()
stop.set()
[thread.join() for thread in threads]
print(min(counts) > 0, "libhook" in open("/proc/self/maps").read())
"""


def test_injection(built: Built, hooked: Hooked) -> None:
    """A busy process with threads is made to load the library; hooks come to life; it ends as it would have."""
    argv = [sys.executable, "-I", "-c", VICTIM]
    with subprocess.Popen(argv, env=hooked.bare, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as victim:
        try:
            assert victim.stdin
            assert victim.stdout
            assert victim.stdout.readline() == "ready\n"
            done = subprocess.run(
                [built.inject, str(victim.pid), built.preload], capture_output=True, text=True, timeout=60, check=False
            )
            if "must not be traced" in done.stderr:
                pytest.skip("tracing other processes is not allowed here")
            assert done.returncode == 0, done.stderr
            time.sleep(0.5)
            victim.stdin.write("\n")
            victim.stdin.flush()
            assert victim.stdout.readline() == "True True\n"
            assert victim.wait(30) == 0
        finally:
            victim.kill()
    hooked.check(100)


def test_injection_is_refused_with_a_reason(built: Built, tmp_path: Path) -> None:
    for argv, why in (
        (["999999999", str(built.preload)], "there is no process"),
        (["1", str(tmp_path / "nothing")], "No such file"),
        (["x"], "usage"),
    ):
        done = subprocess.run([built.inject, *argv], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert why in done.stderr
