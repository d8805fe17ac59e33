"""Origins as they are out there: https by a certificate authority, git's own server behind it, and hosts that say nothing."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from bpfbench.fetch import archive, git
from bpfbench.fetch.download import download
from bpfbench.fetch.errors import Unavailable
from bpfbench.fetch.reach import TRUST, network
from bpfbench.fetch.tools import CONNECT

from .hostile import info, tar
from .test_git import Repository

BACKEND = Path("/usr/lib/git-core/git-http-backend")
BODY = os.urandom(400_000)
SHA = hashlib.sha256(BODY).hexdigest()

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates by openssl, which is not here")


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Path:
    """A directory with ``ca.pem``, and ``server.pem`` (certificate and key) for 127.0.0.1 by it."""
    place = tmp_path_factory.mktemp("authority")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=of these tests")
    openssl("req", *key, "-keyout", "key", "-out", "request", "-subj", "/CN=127.0.0.1")
    (place / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "certificate")  # fmt: skip
    (place / "server.pem").write_bytes((place / "certificate").read_bytes() + (place / "key").read_bytes())
    return place


@pytest.fixture(autouse=True)
def no_certificates_of_this_machines_own(monkeypatch):
    for name in TRUST:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def trusted(authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))


@pytest.fixture
def secure(server, authority):
    """The tests' web server, by https."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")
    return server


def test_an_archive_comes_by_https_and_goes_on_where_it_was_cut_off(secure, trusted, tools):
    secure.cut = 150_000
    path, sha256 = download(secure.put("f", BODY), SHA, tools)
    assert (path.read_bytes(), sha256) == (BODY, SHA)
    assert secure.requests == [("/f", None), ("/f", "bytes=150000-")]


def test_an_archive_by_https_is_unpacked(secure, trusted, tools, tree):
    data = tar((info("x-1/a"), b"there"))
    url = secure.put("x.tar", data)
    archive.obtain({"url": url, "sha256": hashlib.sha256(data).hexdigest()}, "1", tree, tools)
    assert (tree / "a").read_text() == "there"


def test_a_certificate_that_nobody_vouches_for_is_not_taken(secure, tools):
    with pytest.raises(Unavailable, match=r"(?i)certificate verify failed"):
        download(secure.put("f", BODY), SHA, tools)
    assert secure.requests == []


def test_https_is_never_left_for_http(secure, server, trusted, tools):
    def away(handler):
        handler.send_response(302)
        handler.send_header("Location", f"http://{server.host}/f")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    secure.answer = away
    with pytest.raises(Unavailable, match="redirected from https to http"):
        download(secure.put("f", BODY), SHA, tools)


class GitServer:
    """git's own server, as big hosts run it, by https."""

    def __init__(self, root: Path, authority: Path) -> None:
        self.sent: list[int] = []
        """Bytes of every answer."""
        self.asked: list[str] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler(root))
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority / "server.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(server, root: Path) -> type[http.server.BaseHTTPRequestHandler]:
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                server.asked.append(path)
                length = int(self.headers.get("Content-Length", 0))
                env = {
                    "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
                    "QUERY_STRING": query, "REQUEST_METHOD": self.command, "CONTENT_LENGTH": str(length),
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""), "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "REMOTE_ADDR": "127.0.0.1",
                    "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
                }  # fmt: skip
                out = subprocess.run([BACKEND], env=env, input=self.rfile.read(length), capture_output=True, check=False).stdout
                head, _, body = out.partition(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
                self.send_response(int(fields.pop("Status", "200").split()[0]))
                for name, value in {**fields, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                server.sent.append(len(body))

            do_POST = do_GET

        return Handler


@pytest.fixture
def served(tmp_path, authority):
    """Three repositories, each a submodule of the next, addressed relatively, behind git's server."""
    if not BACKEND.exists():
        pytest.skip("git's server for the web is not installed here")
    root = tmp_path / "served"
    server = GitServer(root, authority)
    inner, middle, outer = (Repository(root / name) for name in ("inner", "middle", "outer"))
    inner.commit(i="inner")
    for repository, module in ((middle, inner), (outer, middle)):
        (repository.path / "history").write_bytes(os.urandom(1 << 20))
        repository.commit()
        (repository.path / "history").unlink()
        repository.git("submodule", "--quiet", "add", module.url, "sub")
        repository.git("config", "-f", ".gitmodules", "submodule.sub.url", f"../{module.path.name}")
        repository.commit(**{repository.path.name: "there"})
    yield server, outer
    server.close()


def test_a_pinned_commit_comes_by_https_with_its_submodules_and_without_its_history(served, trusted, tools, tree):
    server, outer = served
    commit = outer.git("rev-parse", "HEAD")
    outer.commit(outer="later")
    got = git.obtain({"url": f"{server.url}/outer", "commit": commit, "submodules": True}, "main", tree, tools)
    assert got.revision == commit
    files = {path.relative_to(tree).as_posix(): path.read_text() for path in tree.rglob("*") if path.suffix == "" and path.is_file()}
    assert {"outer": "there", "sub/middle": "there", "sub/sub/i": "inner"}.items() <= files.items()
    assert {path: module["url"] for path, module in got.submodules.items()} == {
        "sub": f"{server.url}/middle", "sub/sub": f"{server.url}/inner",
    }  # fmt: skip
    assert sum(server.sent) < 1 << 20, "a megabyte lies in the history of each"


def test_git_takes_no_certificate_that_nobody_vouches_for(served, tools, tree):
    server, _ = served
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        git.obtain({"url": f"{server.url}/outer"}, "main", tree, tools)
    assert server.asked == []


@pytest.mark.parametrize("variable", ["GIT_ASKPASS", "SSH_ASKPASS"])
def test_nobody_is_asked_for_a_password(secure, trusted, tools, tree, tmp_path, monkeypatch, variable):
    asked = tmp_path / "asked"
    program = tmp_path / "ask"
    program.write_text(f"#!/bin/sh\ntouch {asked}\necho secret\n")
    program.chmod(0o755)
    monkeypatch.setenv(variable, str(program))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("GIT_TERMINAL_PROMPT", raising=False)

    def refuse(handler):
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="x"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    secure.answer = refuse
    with pytest.raises(Unavailable, match=r"prompts disabled|could not read Username|Authentication failed"):
        git.obtain({"url": f"{secure.url}/x.git"}, "main", tree, tools)
    assert secure.requests and not asked.exists()


@pytest.mark.parametrize("variable", ["GIT_SSL_CAINFO", "SSL_CERT_FILE", "CURL_CA_BUNDLE"])
def test_git_trusts_whom_other_programs_trust(served, authority, tools, tree, monkeypatch, variable):
    monkeypatch.setenv(variable, str(authority / "ca.pem"))
    server, _ = served
    git.obtain({"url": f"{server.url}/inner"}, "main", tree, tools)
    assert (tree / "i").read_text() == "inner"


@pytest.mark.parametrize("method", ["archive", "git"])
def test_an_origin_that_accepts_and_stays_silent_is_waited_for_once(make_tools, tree, method):
    assert CONNECT <= 15
    obtain = {"archive": archive.obtain, "git": git.obtain}[method]
    with socket.create_server(("127.0.0.1", 0)) as listener:  # a handshake that never comes
        listener.settimeout(0.2)
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/x"
        fields = {"url": url, "sha256": SHA} if method == "archive" else {"url": url, "commit": "1" * 40}
        with make_tools() as tools, pytest.raises(Unavailable):
            tools.connect = 0.5
            obtain(fields, "1", tree, tools)
        listener.accept()[0].close()
        with make_tools() as tools, pytest.raises(Unavailable, match=r"\(tried "):
            obtain(fields, "1", tree, tools)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_what_is_out_of_reach_is_tried_again_when_other_certificates_are_trusted(authority, monkeypatch):
    before = network()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    assert network() != before
