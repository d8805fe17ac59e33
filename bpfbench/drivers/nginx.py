"""An nginx of our own for one sample: one worker, one port on the loopback interface, everything in one directory."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

from bpfbench.drivers.common import START_DEADLINE
from bpfbench.errors import BenchError
from bpfbench.process.batch import run
from bpfbench.process.child import Child
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.identity import privileged
from bpfbench.process.reaper import Reaper

ADDRESS = "127.0.0.1"
PATIENCE = 0.005
"""Seconds between two looks at something that is about to happen."""
LOOK = 0.0005
"""The same for something that takes microseconds."""
GIVEN_UP = "cannot be respawned"
"""What nginx says when its worker has ended at once: it goes on without one, and nobody would answer."""

CONFIGURATION = """\
daemon off;
worker_processes 1;
{user}{top}
error_log stderr warn;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    {http}
    server {{
        listen {listen}{tls};
        root www;
        {server}
    }}
    server {{
        listen unix:{status};
        location = /status {{ stub_status; }}
    }}
}}
"""
TLS = """ ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.3"""
STATUS = "status.sock"
"""Where nginx tells how many requests it has had, apart from the address that is loaded."""


def configuration(listen: str, *, certificate: Path | None = None, top: str = "", http: str = "", server: str = "") -> str:
    """Return a configuration that serves the folder ``www`` at the address ``listen``, with TLS 1.3 if there is a ``certificate``.

    ``top``, ``http`` and ``server`` are more directives for the outermost level, for ``http`` and for the server.
    """
    user = "user root;\n" if 0 in os.getresuid() else ""  # under sudo we are somebody else for a while, nginx is not
    tls = TLS.format(folder=certificate) if certificate else ""
    return CONFIGURATION.format(listen=listen, tls=tls, user=user, top=top, http=http, server=server, status=STATUS)


class ServerError(BenchError):
    """The server did not start, or does not serve what it should."""


def make_certificate(reaper: Reaper, folder: Path) -> None:
    """Make a key and a self-signed certificate for two days in ``folder``; nobody is asked to trust it."""
    argv = (
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "certificate.pem",
    )  # fmt: skip
    exit = run(reaper, Command(argv, minimal_env(folder), folder, "openssl", stdout="file"), folder, wall=START_DEADLINE)
    if not exit.ok:
        raise ServerError(f"openssl {exit}: {(folder / 'openssl.out').read_text()[-300:]}")


class Nginx:
    """A running server. ``worker`` is the process that answers requests.

    ``configure`` makes the configuration's text from the address to listen at; ``files`` are put into ``www``.
    """

    def __init__(
        self, reaper: Reaper, program: Path, work: Path, env: Mapping[str, str], cpus: frozenset[int], *,
        configure: Callable[[str], str], files: Mapping[str, bytes], tls: bool = False,
    ) -> None:
        self.work, self.tls, self.port = work, tls, _free_port()
        self._own_sockets: int | None = None
        (work / "www").mkdir()
        for name, content in files.items():
            (work / "www" / name).write_bytes(content)
        (work / "nginx.conf").write_text(configure(f"{ADDRESS}:{self.port}"))
        argv = (str(program), "-p", f"{work}/", "-e", "stderr", "-c", "nginx.conf")
        self.child: Child = reaper.start(Command(argv, env, work, "nginx", stdout="file", cpus=cpus), work)
        try:
            # There is none before the port is ours and listened at; whoever else has taken it would answer us.
            self.worker = self._find_worker()
        except BaseException:
            self.child.stop()
            raise

    def get(self, name: str) -> bytes:
        """Return what the server says ``name`` is. Raises ``ServerError``."""
        connection = self._connect()
        try:
            connection.request("GET", f"/{name}", headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            raise ServerError(f"nginx did not answer GET /{name}: {error!r}\n{self.child.tail()}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise ServerError(f"nginx answered GET /{name} with {answer.status} {answer.reason}")
        return body

    def requests(self) -> int:
        """Return how many requests the server says that it has had so far, with this question. Raises ``ServerError``."""
        folder = os.open(self.work, os.O_PATH | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(START_DEADLINE)
                connection.connect(f"/proc/self/fd/{folder}/{STATUS}")  # its own path may be too long for an address
                connection.sendall(b"GET /status HTTP/1.0\r\n\r\n")
                told = b"".join(iter(lambda: connection.recv(4096), b"")).decode(errors="replace")
        except OSError as error:
            raise ServerError(f"nginx does not tell its status: {error}\n{self.child.tail()}") from error
        finally:
            os.close(folder)
        found = re.search(r"^ \d+ \d+ (\d+) *$", told, re.MULTILINE)
        if not found:
            raise ServerError(f"nginx does not tell how many requests it had: {told[-300:]!r}")
        return int(found[1])

    def url(self, name: str) -> str:
        """Return the address of a file."""
        return f"{'https' if self.tls else 'http'}://{ADDRESS}:{self.port}/{name}"

    def mapped(self, library: str) -> Path:
        """Return the file that the worker has mapped whose name begins with ``library``. Raises ``ServerError``."""
        with inside(self.worker) as place:
            lines = (place / "maps").read_text(errors="replace").splitlines()
        found = {line.split(maxsplit=5)[5] for line in lines if line.count("/")}
        paths = sorted(path for path in found if Path(path).name.startswith(library))
        if not paths:
            raise ServerError(f"nginx has not mapped {library}: it cannot be probed there")
        return Path(paths[0])

    def rest(self, connections: int = 0) -> None:
        """Wait until the worker sleeps, with so many connections open. Nobody may be connected at the first time.

        Raises ``ServerError``.
        """
        if self._own_sockets is None:
            self.requests()  # its answer's end is the end of that connection, and of the worker's own start before it
            self._own_sockets = sockets(self.worker)
        limit = time.monotonic() + START_DEADLINE
        while (found := (sockets(self.worker), state(self.worker))) != (self._own_sockets + connections, "S"):
            if time.monotonic() > limit:
                raise ServerError(f"nginx's worker does not come to rest: {found[0]} sockets, state {found[1]}\n{self.child.tail()}")
            time.sleep(LOOK)

    def _connect(self) -> HTTPConnection:
        if not self.tls:
            return HTTPConnection(ADDRESS, self.port, timeout=START_DEADLINE)
        anyone = ssl.create_default_context()
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        return HTTPSConnection(ADDRESS, self.port, timeout=START_DEADLINE, context=anyone)

    def _find_worker(self) -> int:
        """Return the master's only child, which it has as soon as it listens."""
        limit = time.monotonic() + START_DEADLINE
        found: list[int] = []
        while self.child.alive and time.monotonic() < limit:
            with suppress(ServerError):  # it has ended: we shall be told
                found = children(self.child.pid)
            if len(found) == 1:
                return found[0]
            if not found and GIVEN_UP in self.child.tail():
                break
            time.sleep(PATIENCE)
        trouble = f"has {len(found)} workers, expected 1" if self.child.alive else "has ended"
        raise ServerError(f"nginx does not start: it {trouble}\n{self.child.tail()}")


@contextmanager
def inside(pid: int) -> Iterator[Path]:
    """Yield what /proc has of a process, also of root's under sudo. Raises ``ServerError`` when it has ended."""
    try:
        with privileged():
            yield Path(f"/proc/{pid}")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ServerError(f"process {pid} has ended") from error


def sockets(pid: int) -> int:
    """Return how many sockets a process has open."""
    found = 0
    with inside(pid) as place:
        for link in (place / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed while we look
                found += str(link.readlink()).startswith("socket:")
    return found


def state(pid: int) -> str:
    """Return the scheduler's letter for a process: S sleeps, R runs, t is stopped by a tracer."""
    with inside(pid) as place:
        return (place / "stat").read_text().rpartition(")")[2].split()[0]


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    found = []
    with inside(pid) as place:
        for task in (place / "task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that all live threads of ``pid`` have had so far."""
    with inside(pid) as place:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in list((place / "task").iterdir())) / 1e9


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])
