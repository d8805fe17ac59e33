"""What the gate, the bad rule and the proof let pass: nginx with its module is a small server here, with one fault each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bpfbench.drivers import nginx_decision, nginx_module
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell

CPUS = frozenset(os.sched_getaffinity(0))
MODEL = load(Layout.of(Path(__file__).parents[2]))

NGINX = '''#!{python} -IS
import json, os, re, signal, socket, struct, sys, urllib.parse
FAULT = {fault!r}
conf = open("nginx.conf").read()
address = re.search(r"listen ([0-9.]+):([0-9]+)", conf)
status = re.search(r"listen unix:(.+?);", conf)[1]
rules = re.search(r'gate_rules "(.+?)"', conf)
module, reaches = rules is not None, "c.so" in conf
body = open("www/body", "rb").read()
tcp, unix = socket.create_server((address[1], int(address[2])), backlog=64), socket.socket(socket.AF_UNIX)
unix.bind(status)
unix.listen(8)
had, accepted, rejected, requests = 0, 0, 0, 0

def prefixes():
    data = open(rules[1], "rb").read()
    return [data[16 + at * 32:][:struct.unpack_from("<I", data, 12 + at * 32)[0]] for at in range(struct.unpack_from("<I", data, 8)[0])]

FIRST = prefixes() if module else []

def passes(path):
    global accepted, rejected
    path = re.sub("/+", "/", urllib.parse.unquote(path.partition("?")[0]))
    while "/../" in path:
        path = re.sub("/[^/]+/[.][.]/", "/", path, count=1)
    found = any(path.encode().startswith(one) for one in (FIRST if FAULT == "stale rules" else prefixes()))
    found = found or (FAULT == "lets one pass" and path == "/nobody")
    if not (FAULT == "counts less" and path == "/body"):
        accepted, rejected = accepted + found, rejected + (not found)
    return found

def state():
    engine = "other" if FAULT == "other engine" else "c" if reaches else "jit"
    return dict(engine=engine, bounded_by="x", compile_ns=7, code_size=1, generation=2, accepted=accepted, rejected=rejected, errors=0)

def trespass():
    got = 16 if reaches != (FAULT in ("unbounded", "harmless")) else 0
    return dict(read=got, right=got - (FAULT == "wrong bytes"), said="nothing stopped it" if got else "stopped")

def decide(query):
    global accepted
    asked = dict(urllib.parse.parse_qsl(query))
    calls, most = int(asked["calls"]), int(asked["wanted"])
    accepted += calls * most - (FAULT == "decides less" and most > 1)
    return dict(calls=calls * most, passed=calls * most, errors=0, core=800, clock="x", rounds=[2000000 + calls] * most, calm=[1] * most)

def answer(path):
    what, _, query = path.rpartition("/gate/")[2].partition("?")
    if path.startswith("/gate/") and module:
        return 200, json.dumps(state() if what == "state" else trespass() if what == "trespass" else decide(query)).encode()
    return (200, body) if not module or passes(path) else (403, b"no")

def serve(connection):
    global had
    with connection, connection.makefile("rwb") as stream:
        while line := stream.readline():
            close = False
            while (header := stream.readline()) not in (b"", b"\\r\\n"):
                close = close or header.lower().startswith(b"connection: close")
            had += 1
            code, text = answer(line.split()[1].decode())
            stream.write(b"HTTP/1.1 %d x\\r\\nContent-Length: %d\\r\\n\\r\\n" % (code, len(text)) + text)
            stream.flush()
            if close or line.startswith(b"LAST"):
                break

def worker():
    if FAULT in ("failed", "unsupported"):
        print("2026/11/22 [emerg] 1#1: gate: " + FAULT + ": no such engine", file=sys.stderr, flush=True)
        os._exit(2)
    import selectors
    chosen = selectors.DefaultSelector()
    chosen.register(tcp, 1)
    chosen.register(unix, 1)
    while True:
        for key, _ in chosen.select():
            connection, _ = key.fileobj.accept()
            if key.fileobj is tcp:
                serve(connection)
            else:
                global had
                had += 1
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 x\\r\\n\\r\\nserver accepts handled requests\\n 1 1 %d \\n" % had)
                connection.close()

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
child = os.fork()
if not child:
    worker()
signal.signal(signal.SIGTERM, lambda *_: (os.kill(child, 9), os._exit(0)))
def gone(*_):
    if os.waitpid(-1, os.WNOHANG)[0]:
        print("worker process exited with fatal code 2 and cannot be respawned", file=sys.stderr, flush=True)

signal.signal(signal.SIGCHLD, gone)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
while True:
    signal.pause()
'''

WRK = """#!{python} -IS
import http.client, json, sys, urllib.parse
place = urllib.parse.urlsplit(sys.argv[-1])
connection = http.client.HTTPConnection(place.netloc)
for _ in range(40):
    connection.request("GET", place.path)
    code = connection.getresponse()
    code.read()
    assert code.status == 200
connection.close()
told = dict.fromkeys(("connect", "read", "write", "status", "timeout"), 0)
print("LOAD", json.dumps(dict(requests=40, bytes=4000, duration=1000000, p50=1.0, p99=2.0, max=3.0, **told)))
"""


def script(path, text, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{python}", sys.executable).replace("{fault!r}", repr(values.get("fault"))))
    path.chmod(0o755)


@pytest.fixture
def take(tmp_path):
    """Return a function that takes a pilot of an arm whose nginx has that fault."""

    def taken(fault=None, arm="embedded", experiment="nginx_module"):
        outputs = {name: tmp_path / name for name in ("nginx", "wrk", "nginx_module")}
        script(outputs["nginx"] / "sbin" / "nginx", NGINX, fault=fault)
        script(outputs["wrk"] / "bin" / "wrk", WRK)
        found, driver = MODEL.experiments[experiment], {"nginx_module": nginx_module, "nginx_decision": nginx_decision}[experiment]
        chosen = next(one for one in found.arms if one.name == arm)
        case = next(one for one in found.cases if one.name in ("small", "last"))
        work = tmp_path / "work"
        work.mkdir()
        with Reaper("test-nginx-module") as reaper:
            bench = Bench(found, MODEL.profiles["quick"], reaper, outputs, work, CPUS, CPUS)
            sample, _ = driver.create().pilot(bench, Cell(case, chosen, MODEL.runtimes[chosen.runtime]))
        assert not list(work.iterdir())
        return sample

    return taken


@pytest.mark.parametrize("arm", ["none", "c", "embedded"])
def test_a_sound_server_is_measured(take, arm):
    sample = take(arm=arm)
    assert (sample.status, sample.reason) == ("ok", None)
    assert sample.proof.holds
    assert set(sample.metrics) == {"rate", "latency_p50", "latency_p99", "server_cpu"}
    if arm != "none":
        assert (sample.proof.kind, sample.proof.expected) == ("decisions", 40)
        assert sample.evidence["trespass"]["read"] == (16 if arm == "c" else 0)


@pytest.mark.parametrize("fault, arm, words", [
    ("lets one pass", "embedded", "/nobody was answered with 200"),
    ("stale rules", "embedded", "was answered with 200"),
    ("counts less", "embedded", "the engine has counted"),
    ("unbounded", "embedded", "nothing bounds the rule's memory"),
    ("harmless", "c", "proves nothing"),
    ("wrong bytes", "c", "proves nothing"),
    ("other engine", "embedded", "ran on other"),
    ("failed", "embedded", "no such engine"),
])  # fmt: skip
def test_a_fault_fails_the_sample(take, fault, arm, words):
    sample = take(fault, arm)
    assert sample.status == "failed"
    assert words in sample.reason


def test_what_an_engine_lacks_here_makes_it_unsupported(take):
    sample = take("unsupported")
    assert (sample.status, sample.reason) == ("unsupported", "no such engine")


@pytest.mark.parametrize("experiment", ["nginx_module", "nginx_decision"])
def test_an_engine_that_there_is_not_makes_it_unsupported_with_the_reason(take, experiment):
    sample = take(arm="njs", experiment=experiment)
    assert sample.status == "unsupported"
    assert "could not count" in sample.reason


def test_decisions_alone(take):
    sample = take(experiment="nginx_decision")
    assert (sample.status, sample.proof.kind, sample.proof.holds) == ("ok", "decisions", True)
    assert sample.metrics["compile"] == 7
    assert sample.metrics["time"] == sample.metrics["time_median"] > 0


def test_a_decision_that_was_not_counted_fails_the_sample(take):
    sample = take("decides less", experiment="nginx_decision")
    assert sample.status == "failed"
    assert "not proved" in sample.reason
