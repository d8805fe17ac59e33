"""Fixtures of the tests of fetching: places to work in, and a web server on loopback that misbehaves on request."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfbench.fetch.reach import Reach
from bpfbench.fetch.tools import Tools


class Notes(list[str]):
    """Takes what is said of progress."""

    def __call__(self, note: str, *, done: int = 0, total: int = 0) -> None:
        self.append(note)


class Server:
    """Serves ``files``; ``answer`` may answer a request in its own way. ``requests``: path and Range of each."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etags = True
        self.ranges = True
        self.cut: int | None = None
        """Hang up after this many bytes, once."""
        self.answer: Callable[[http.server.BaseHTTPRequestHandler], bool] = lambda handler: False
        self.requests: list[tuple[str, str | None]] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, name: str, content: bytes) -> str:
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"

    def _handler(server) -> type[http.server.BaseHTTPRequestHandler]:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                server.requests.append((self.path, self.headers.get("Range")))
                with contextlib.suppress(ConnectionError):
                    if not server.answer(self):
                        self.serve()

            def serve(self) -> None:
                content = server.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                tag = f'"{hashlib.md5(content).hexdigest()}"'
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                same = self.headers.get("If-Range", tag) == tag
                start = int(asked[1]) if asked and same and server.ranges else 0
                if start >= len(content) and start:
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                if server.etags:
                    self.send_header("ETag", tag)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                body = content[start:]
                cut, server.cut = server.cut, None
                self.wfile.write(body if cut is None else body[:cut])
                if cut is not None:
                    self.wfile.flush()
                    self.close_connection = True

        return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def make_tools(tmp_path: Path, notes: Notes) -> Callable[..., Tools]:
    number = itertools.count(1)

    def make(*, again: bool = False, work: Path | None = None) -> Tools:
        state = tmp_path / "state"
        work = work or state / f"work-{next(number)}"  # private to each call: what is in there is deleted
        return Tools(
            "bpfbench-test-fetch", state / "logs", state / "downloads", state / "cache", work, notes,
            Reach(tmp_path / "availability", again=again, seen=lambda: {"network": "this"}),
            connect=3.0, silence=3.0,
        )  # fmt: skip

    return make


@pytest.fixture
def tools(make_tools: Callable[..., Tools]) -> Iterator[Tools]:
    with make_tools() as tools:
        yield tools


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"
