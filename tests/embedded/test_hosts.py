"""The whole runtime in well-known programs: no crash, the same output as without it, and exact counts.

Needs nginx (Debian: nginx-light), redis-server and node (nodejs), which root on Debian installs; servers are on the loopback
with directories of their own, and no service is started.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.debian import PATH, program

from .conftest import Segment
from .talk import Program

pytestmark = pytest.mark.system

PACKAGES = {"nginx": "nginx-light", "redis-server": "redis-server", "node": "nodejs"}
ENTRIES, RETURNS, ACCEPTED, MKDIR, HOT, HOT_RETURNS = 12, 13, 19, 20, 21, 22


def find(name: str) -> str:
    """Return a program's path; install it where that can be done."""
    return program(name, PACKAGES[name])


class Probes:
    """A loader, its programs attached to what a test says, and the environment of who is to be probed."""

    def __init__(self, pitfalls: Path, segment: Segment) -> None:
        self.segment = segment
        argv: list[str | Path] = [pitfalls / "probes", pitfalls / "pitfalls.bpf.o", "-", "-1", "ert", "later"]
        self.loader = Program(argv, segment.loader())
        assert self.loader.line() == "READY", self.loader.errors()
        more = {"PATH": PATH, "HOME": str(segment.work), "LC_ALL": "C"}
        self.probed = {**segment.target(), **more, "EMBEDDED_STATUS": f"{segment.work}/status.%p"}
        self.bare = {**more, "LANG": "C.UTF-8"}

    def attach(self, *words: str) -> None:
        answer = self.loader.ask(f"attach {' '.join(words)}")
        assert answer == "ATTACHED", (words, answer)

    def on(self, file: str, function: str, allocator: str | None = None) -> None:
        """Count calls of the function whose number is known, of the allocator (libc's), and of others of libc."""
        self.attach("e_plain", file, function)
        self.attach("r_plain", file, function)
        libc = linked_with(sys.executable, "libc")[0]
        self.attach("e_hot", allocator or libc, "malloc")
        self.attach("r_hot", allocator or libc, "malloc")
        for probe, name in (("e_mix", "free"), ("r_mix", "free"), ("e_throws", "read"), ("e_passes", "write")):
            self.attach(probe, libc, name)
        for name in ("t_accepted", "t_accepted_so", "t_mkdir", "t_getpgid"):
            self.attach(name)

    def counted(self) -> list[int]:
        """Return the counts, which are the same in all ways of counting; nothing may have gone wrong anywhere."""
        ways = self.loader.json("COUNTERS", "read")
        assert ways["per_cpu"] == ways["atomic"]
        assert ways["hash"] == ways["atomic"]
        counts: list[int] = ways["atomic"]
        assert counts[HOT] > 100
        assert counts[HOT] >= counts[HOT_RETURNS] > 0.9 * counts[HOT]
        statuses = [json.loads(path.read_text()) for path in self.segment.work.glob("status.*")]
        assert statuses
        for status in statuses:
            assert status["error"] is None
            assert status["missed"] == 0
            assert [program for program in status["programs"] if program["error"]] == []
        return counts


@pytest.fixture
def probes(pitfalls: Path, segment: Segment) -> Iterator[Probes]:
    probes = Probes(pitfalls, segment)
    yield probes
    probes.loader.kill()


def output(argv: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout


def linked_with(program: str, library: str) -> list[str]:
    """Return the files that a program is linked with and whose names begin so."""
    listed = subprocess.check_output(["ldd", os.path.realpath(program)], text=True)
    return re.findall(rf"=> (/\S*/{library}\S*)", listed)


def exporter(name: str, *candidates: str) -> str:
    """Return the first file that exports a function."""
    for path in candidates:
        symbols = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=False).stdout
        if re.search(rf" T {name}$", symbols, re.M):
            return os.path.realpath(path)
    pytest.skip(f"{name} is exported by none of {candidates}")


PYTHON = """
import collections, decimal, hashlib, json, marshal, os, random, re, subprocess, tempfile, threading, zlib
random.seed(7)
data = json.dumps([{"key": n, "text": str(n) * 3, "real": random.random()} for n in range(5000)])
print(hashlib.sha256(zlib.compress(data.encode())).hexdigest(), len(re.findall(r"[0-9]+", data)))
def work():
    for n in range(250):
        marshal.dumps(n)
        os.getpgid(0)
    sums.append(sum(n * n for n in range(100000)))
sums = []
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sums, decimal.Decimal(2).sqrt(), subprocess.run(["sh", "-c", "echo child; exit 3"], capture_output=True))
child = os.fork()
if not child:
    marshal.dumps(1)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with tempfile.TemporaryFile() as file:
    file.write(data.encode()); file.seek(0); print(collections.Counter(file.read()).most_common(3))
def deep(n): return deep(n + 1)
try:
    deep(0)
except RecursionError as error:
    print(error)
"""


def test_python(probes: Probes) -> None:
    """Threads, children of both kinds, floating point; a function and a system call that the script calls 1,000 times."""
    python = os.path.realpath(sys.executable)
    name = "PyMarshal_WriteObjectToString"
    argv = [python, "-I", "-B", "-c", PYTHON]
    bare = output(argv, probes.bare)
    probes.on(exporter(name, python, *linked_with(python, "libpython")), name)
    assert output(argv, probes.probed) == bare
    counts = probes.counted()
    assert counts[17] == 1000
    assert counts[ENTRIES] == counts[RETURNS]
    assert counts[ENTRIES] == 1001


NODE = """
const zlib = require('zlib'), crypto = require('crypto'), fs = require('fs'), child = require('child_process');
const { Worker } = require('worker_threads');
let text = ''; for (let i = 0; i < 30000; i++) text += i * i;
console.log(crypto.createHash('sha256').update(zlib.deflateSync(text)).digest('hex'));
console.log(child.execFileSync('sh', ['-c', 'echo child']).toString());
for (let i = 0; i < 200; i++) fs.rmdirSync(fs.mkdtempSync('PLACE/node-'));
const worker = new Worker(
  'let s = 0; for (let i = 0; i < 1e6; i++) s += i; require("worker_threads").parentPort.postMessage(s)', { eval: true });
worker.on('message', (sum) => fs.readFile('/etc/passwd', (error, data) => console.log(sum, error, data.length)));
"""


def test_node(probes: Probes, tmp_path: Path) -> None:
    """Its own compiler's code, threads and children; a function that the script has called 200 times."""
    node = find("node")
    argv = [node, "-e", NODE.replace("PLACE", str(tmp_path))]
    bare = output(argv, probes.bare)
    probes.on(exporter("uv_fs_mkdtemp", node, *linked_with(node, "libuv")), "uv_fs_mkdtemp")
    assert output(argv, probes.probed) == bare
    counts = probes.counted()
    assert counts[ENTRIES] == counts[RETURNS] == 200
    assert counts[MKDIR] == 200


# --- servers ----------------------------------------------------------------------------------------------


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(argv: list[str], environment: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, wait until it listens, and have it end in order."""
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(400):
                assert process.poll() is None
                if f"{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text():
                    break
                time.sleep(0.05)
            yield process
            assert process.poll() is None
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def ask(port: int, words: bytes, until: bytes = b"") -> bytes:
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


GET = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def ask_nginx(tmp_path: Path, environment: dict[str, str]) -> list[bytes]:
    """Run nginx with two workers, whom new ones replace in its midst; 121 requests. Its answers, without the times."""
    nginx, port = find("nginx"), free_port()
    config = tmp_path / "nginx.conf"
    names = "".join(f"env {name}; " for name in environment if name.startswith(("EMBEDDED", "LD_")))
    config.write_text(
        f"{'user root; ' if os.geteuid() == 0 else ''}"
        f"daemon off; worker_processes 2; pid {tmp_path}/pid; error_log {tmp_path}/errors; {names} "
        f"events {{}} http {{ access_log off; gzip on; gzip_types text/plain; etag off; types {{ text/plain txt; }} "
        f"{''.join(f'{kind}_temp_path {tmp_path}/{kind}; ' for kind in TEMPORARY)} "
        f"server {{ listen 127.0.0.1:{port}; root {tmp_path}; }} }}"
    )
    answers = []
    with server([nginx, "-c", str(config), "-p", str(tmp_path)], environment, port) as process:
        for _ in range(40):
            answers.append(ask(port, GET % (b"/page.txt", b"")))
            answers.append(ask(port, GET % (b"/page.txt", b"Accept-Encoding: gzip\r\n")))
            answers.append(ask(port, GET % (b"/nothing", b"")))
        process.send_signal(1)  # new workers
        time.sleep(0.5)
        answers.append(ask(port, GET % (b"/page.txt", b"")))
    assert "signal 11" not in (tmp_path / "errors").read_text()
    return [re.sub(rb"(Date|Last-Modified): [^\r]*", b"", answer) for answer in answers]


def test_nginx(probes: Probes, tmp_path: Path) -> None:
    nginx = find("nginx")
    (tmp_path / "page.txt").write_text("a page\n" * 3000)
    tmp_path.chmod(0o755)
    bare = ask_nginx(tmp_path, probes.bare)
    assert [answer[:12] for answer in bare[:3]] == [b"HTTP/1.1 200", b"HTTP/1.1 200", b"HTTP/1.1 404"]
    assert bare[0].endswith(b"a page\n" * 3000)
    name = "ngx_http_process_request"
    probes.on(exporter(name, nginx), name)
    assert ask_nginx(tmp_path, probes.probed) == bare
    counts = probes.counted()
    assert counts[ENTRIES] == counts[RETURNS] == 121
    assert counts[ACCEPTED] == 121


def ask_redis(
    place: Path, environment: dict[str, str], first: Callable[[int], None] = lambda pid: None
) -> list[bytes]:
    """Run Redis and do something to it; 203 commands, each on a connection of its own. Its answers."""
    place.mkdir()
    redis, port = find("redis-server"), free_port()
    argv = [redis, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", "", "--appendonly", "yes"]
    answers = []
    with server(argv, environment, port) as process:
        first(process.pid)
        for n in range(100):
            word = f"value {n}".encode()
            answers.append(ask(port, b"SET key%d \"%s\"\r\n" % (n, word), b"\r\n"))
            answers.append(ask(port, b"GET key%d\r\n" % n, b"\r\n%s\r\n" % word))
        answers.append(ask(port, b"EVAL \"local s = 0 for i = 1, 100000 do s = s + i % 7 end return s\" 0\r\n", b"\r\n"))
        answers.append(ask(port, b"BGREWRITEAOF\r\n", b"\r\n"))
        time.sleep(0.5)
        answers.append(ask(port, b"DBSIZE\r\n", b"\r\n"))
    return answers


def test_redis(probes: Probes, tmp_path: Path) -> None:
    redis = find("redis-server")
    bare = ask_redis(tmp_path / "bare", probes.bare)
    assert bare[:2] == [b"+OK\r\n", b"$7\r\nvalue 0\r\n"]
    assert bare[-1] == b":100\r\n"
    probes.on(exporter("processCommand", redis), "processCommand", *linked_with(redis, "libjemalloc"))
    assert ask_redis(tmp_path / "probed", probes.probed) == bare
    counts = probes.counted()
    assert counts[ENTRIES] == counts[RETURNS] == 203
    assert counts[ACCEPTED] == 203


def test_redis_that_runs_already(probes: Probes, tmp_path: Path) -> None:
    """The agent is brought into it; its threads wait in epoll_wait and for conditions."""
    redis = find("redis-server")
    bare = ask_redis(tmp_path / "bare", probes.bare)
    probes.on(exporter("processCommand", redis), "processCommand", *linked_with(redis, "libjemalloc"))
    settings = {name: value for name, value in probes.probed.items() if name.startswith("EMBEDDED_")}

    def inject(pid: int) -> None:
        runtime = probes.segment.runtime
        argv: list[str | Path] = [runtime / "inject", str(pid), runtime / "agent.so"]
        done = subprocess.run(argv, env=settings, capture_output=True, text=True, timeout=60, check=False)
        if "tracing is not allowed here" in done.stderr or "ptrace_scope" in done.stderr:
            pytest.skip(f"other processes must not be traced here: {done.stderr}")
        assert done.returncode == 0, done.stderr

    assert ask_redis(tmp_path / "probed", probes.bare, inject) == bare
    counts = probes.counted()
    assert counts[ENTRIES] == counts[RETURNS] == 203
    assert counts[ACCEPTED] == 203
