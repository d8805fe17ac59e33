"""Driver for a server whose plaintext is read: programs on functions of its TLS library, which send what was moved to a tracer.

The gate: an answer is the file, and the programs have counted its request. A pilot also captures what they send, which must hold
the request and the whole answer. The proof of a load is the number of requests that the programs saw: exactly as many as the server
says it had, which are those that the client had answered and no more than were on their way when time was up. What programs send and
nobody receives is counted as lost, and is part of the result.

Parameters of a case, beside those of ``nginx_load``: ``attach`` (``KIND:PROGRAM:PLACE`` each), ``library`` (whose functions are
probed), ``events`` (the map that events come through), ``requests`` (the program whose counter ``inner`` counts requests).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bpfbench.drivers.events import Seen, plaintext, reset, settle
from bpfbench.drivers.nginx import Nginx
from bpfbench.drivers.nginx_load import FILE, NginxDriver, NginxSample
from bpfbench.drivers.wrk import Load
from bpfbench.sampling import Proof


def create() -> NginxDriver:
    """Return a driver for one run."""
    return NginxDriver(Sniffed)


class Sniffed(NginxSample):
    """See the module."""

    before = 0
    """Events that had arrived when the counters were set to 0."""
    had = 0
    """Requests that the server had had by then."""

    @property
    def capture(self) -> Path:
        """The file to which a pilot's loader writes all events."""
        return self.work / "capture"

    def loader_argv(self, server: Nginx | None) -> list[str]:
        """Attach to the library that the worker has mapped, in the worker alone if it runs already."""
        package = self.package()
        target, pid = self._library(server), ["--pid", str(server.worker)] if server else []
        argv = [str(package / "loader"), "--object", str(package / "program.bpf.o"), "--target", str(target), *pid]
        for value in self.params["attach"]:
            argv += ["--attach", value]
        return [*argv, "--events", self.params["events"], *(["--capture", str(self.capture)] if self.pilot else [])]

    def gate(self, server: Nginx) -> None:
        """A running process is hooked a moment after the loader is ready, so that several requests may be needed."""
        self.wait_for(lambda: self.answered(server) and self._seen(), "requests are served, but no program has seen one")
        if self.loader and self.pilot:
            self.wait_for(self._captured, "the programs have not sent the request and its whole answer")

    def begin(self, server: Nginx) -> None:
        """Count from 0, on both sides."""
        if self.loader:
            server.rest()
            self.before, self.had = reset(self.loader), server.requests()

    def account(self, server: Nginx, load: Load) -> tuple[Proof, dict[str, float], dict[str, Any]]:
        """Wait for what is still on its way, and compare."""
        if self.loader is None:
            return self.bare(server), {}, {}
        server.rest()
        seen = settle(self.loader, self.before)
        had = server.requests() - 1 - self.had
        self.same_requests(load, had)
        metrics = {"events": seen.received / load.requests, "lost": seen.lost / load.requests}
        found = self._requests(seen)
        return Proof("requests seen", had, found), metrics, {**seen.as_evidence(), "requests_seen": found, "requests_served": had}

    def _requests(self, seen: Seen) -> int:
        return seen.inner.get(self.params["requests"], 0)

    def _seen(self) -> bool:
        return self.loader is None or self.count()["inner"].get(self.params["requests"], 0) > 0

    def _library(self, server: Nginx | None) -> Path:
        """Return the file that nginx has mapped; where none runs yet, one is started for a moment to see which that is."""
        if server:
            return server.mapped(self.params["library"])
        if "library" not in self.kept:
            with self.bystander("library") as other:
                self.kept["library"] = other.mapped(self.params["library"])
        return Path(self.kept["library"])

    def _captured(self) -> bool:
        """Whether the last connection's plaintext is there: its request, and the file as the end of the answer."""
        asked, answered = plaintext(self.capture)
        return f"GET /{FILE} HTTP/1.1\r\n".encode() in asked and self.body in answered
