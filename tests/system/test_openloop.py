"""The client that asks at a constant rate, against servers that stall, lie or go away."""

import json
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from bpfbench.build import workload
from bpfbench.layout import Layout
from bpfbench.model.load import load

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.system
BODY = 100
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * BODY


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    tree = tmp_path_factory.mktemp("build") / "tree"
    workload.make(load(Layout.of(ROOT)).packages["openloop"], ROOT, tree, cache=tmp_path_factory.mktemp("toolchain"))
    return tree / "client"


@pytest.fixture
def offer(client):
    """Return a function that has the client ask a server whose n-th answer is ``answer(n)``, in pieces."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(answer):
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces are to come one by one
        with connection:
            n = 0
            while b"GET " in (asked := connection.recv(65536)):
                for _ in range(asked.count(b"GET ")):
                    for piece in answer(n):
                        connection.sendall(piece)
                    n += 1
                if not answer(n):
                    return

    def offered(answer, rate=200, seconds=1):
        server = threading.Thread(target=serve, args=(answer,), daemon=True)
        server.start()
        argv = [client, "--port", str(listening.getsockname()[1]), "--path", "/x", "--body", str(BODY), "--connections", "1"]
        told = subprocess.run([*argv, "--rate", str(rate), "--seconds", str(seconds)], capture_output=True, text=True, check=True)
        server.join(10)
        return json.loads(told.stdout.removeprefix("LOAD "))

    with listening:
        yield offered


def troubles(told):
    return {name: told[name] for name in ("connect", "read", "write", "status", "unreadable", "timeout") if told[name]}


def test_every_request_that_was_due_is_made_and_answered_in_whatever_pieces(offer):
    told = offer(lambda n: [GOOD[: n % 140], GOOD[n % 140 :]])
    assert (told["requests"], told["planned"], troubles(told)) == (200, 200, {})
    assert told["p50_ns"] <= told["p99_ns"] <= told["max_ns"]


def test_a_stall_is_met_by_all_requests_that_were_due_meanwhile_and_not_by_one(offer):
    def stall(n):
        if n == 20:
            time.sleep(0.6)
        return [GOOD]

    told = offer(stall)
    assert (told["requests"], troubles(told)) == (200, {})
    # In 0.6 s 120 requests were due. All but the first found the only connection taken; a client that waits for each answer before
    # it thinks of the next request would have told of one slow answer, and of a median as if nothing had happened.
    assert told["queued"] >= 115
    assert told["p50_ns"] > 20_000_000
    assert told["p99_ns"] > 550_000_000


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (GOOD.replace(b"200 OK", b"404 Not Found"), "status"),
        (GOOD.replace(b"200 OK", b"204 No Content"), "status"),
        (GOOD.replace(b"Length: 100", b"Length: 99"), "unreadable"),
        (GOOD.replace(b"Content-Length: 100\r\n", b""), "unreadable"),
        (GOOD.replace(b"HTTP/1.1", b"HTCPCP/1"), "unreadable"),
        (GOOD + b"!", "unreadable"),
        (b"x" * 5000, "unreadable"),
        (b"\0" * 50, "unreadable"),
    ],
)
def test_what_is_not_the_expected_answer_is_told(offer, answer, trouble):
    assert troubles(offer(lambda n: [answer] if n == 3 else [GOOD] if n < 3 else [])) == {trouble: 1}


def test_a_server_that_goes_away_is_told(offer):
    assert troubles(offer(lambda n: [GOOD] if n < 5 else [])) in ({"read": 1}, {"write": 1})


def test_nobody_there_is_told(client):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    argv = [client, "--port", str(port), "--path", "/x", "--body", "1", "--connections", "2", "--rate", "10", "--seconds", "1"]
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.removeprefix("LOAD "))
    assert (told["requests"], set(troubles(told))) == (0, {"connect"})


@pytest.mark.parametrize("words", [[], ["--port", "0"], ["--rate", "fast"], ["--nonsense"]])
def test_a_wrong_command_line_is_refused(client, words):
    done = subprocess.run([client, *words], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert json.loads(done.stdout.removeprefix("ERROR "))["stage"] == "options"
