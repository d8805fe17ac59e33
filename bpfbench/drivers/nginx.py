"""An nginx of our own for one sample: one worker, one port on the loopback interface, everything in one directory."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Mapping
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

CONFIGURATION = """\
daemon off;
worker_processes 1;
{user}
error_log stderr warn;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    server {{
        listen {address}:{port}{tls};
        root www;
    }}
}}
"""
TLS = """ ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.3"""


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
    """A running server. ``worker`` is the process that answers requests."""

    def __init__(
        self, reaper: Reaper, program: Path, work: Path, env: Mapping[str, str], cpus: frozenset[int],
        files: Mapping[str, bytes], certificate: Path | None,
    ) -> None:
        self.tls = certificate is not None
        self.port = _free_port()
        (work / "www").mkdir()
        for name, content in files.items():
            (work / "www" / name).write_bytes(content)
        tls = TLS.format(folder=certificate) if certificate else ""
        user = "user root;" if os.geteuid() == 0 else ""
        (work / "nginx.conf").write_text(CONFIGURATION.format(address=ADDRESS, port=self.port, tls=tls, user=user))
        argv = (str(program), "-p", f"{work}/", "-e", "stderr", "-c", "nginx.conf")
        self.child: Child = reaper.start(Command(argv, env, work, "nginx", stdout="file", cpus=cpus), work)
        try:
            self._wait_until_it_listens()
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

    def url(self, name: str) -> str:
        """Return the address of a file."""
        return f"{'https' if self.tls else 'http'}://{ADDRESS}:{self.port}/{name}"

    def mapped(self, library: str) -> Path:
        """Return the file that the worker has mapped whose name begins with ``library``. Raises ``ServerError``."""
        with privileged():
            lines = Path(f"/proc/{self.worker}/maps").read_text(errors="replace").splitlines()
        found = {line.split(maxsplit=5)[5] for line in lines if line.count("/")}
        paths = sorted(path for path in found if Path(path).name.startswith(library))
        if not paths:
            raise ServerError(f"nginx has not mapped {library}: it cannot be probed there")
        return Path(paths[0])

    def _connect(self) -> HTTPConnection:
        if not self.tls:
            return HTTPConnection(ADDRESS, self.port, timeout=START_DEADLINE)
        anyone = ssl.create_default_context()
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        return HTTPSConnection(ADDRESS, self.port, timeout=START_DEADLINE, context=anyone)

    def _wait_until_it_listens(self) -> None:
        limit = time.monotonic() + START_DEADLINE
        while True:
            try:
                socket.create_connection((ADDRESS, self.port), timeout=1).close()
                return
            except OSError as error:
                if not self.child.alive or time.monotonic() > limit:
                    raise ServerError(f"nginx does not listen on port {self.port}: {error}\n{self.child.tail()}") from error
                time.sleep(PATIENCE)

    def _find_worker(self) -> int:
        """Return the master's only child; it is there as soon as the port is, or a moment later."""
        limit = time.monotonic() + START_DEADLINE
        while time.monotonic() < limit:
            found = children(self.child.pid)
            if len(found) == 1:
                return found[0]
            time.sleep(PATIENCE)
        raise ServerError(f"nginx has {len(children(self.child.pid))} workers, expected 1\n{self.child.tail()}")


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that all live threads of ``pid`` have had so far."""
    with privileged():
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])
