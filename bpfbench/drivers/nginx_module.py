"""Driver for an nginx that asks an extension whether a path may pass: one module, one rule, and an engine that each arm names.

The gate of every sample is a matrix of paths, plain and disguised, that must be answered with 200 or 403 as the rules say; then the
rules are changed while the server runs, and the matrix of the others must hold. The engine must have counted each of these
answers. In a pilot, a bad rule also reads after a secret of nginx: an engine that bounds memory must stop it, and where nothing
bounds it (``reaches: true``), it must get there, for else the attempt would prove nothing.

The proof of a load: the engine has counted as many decisions as the server says it had requests, which are those that the client had
answered and no more than were on their way when time was up. The worker must be the one that was started.

Options of an arm: ``engine`` (library and arguments; places as in runtimes' environments; without it, there is no module), ``reaches``,
and ``lacks``: why an engine that one would look for is not there. Parameters of a case, beside those of ``nginx_load``: ``rules``
(prefixes of paths that may pass).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from bpfbench.drivers.common import START_DEADLINE, expand, fields_of
from bpfbench.drivers.evidence import Evidence
from bpfbench.drivers.gate_rules import OTHER, Rules, allowed, matrix
from bpfbench.drivers.nginx import ADDRESS, Nginx, ServerError, children, configuration, inside
from bpfbench.drivers.nginx_load import FILE, NginxDriver, NginxSample
from bpfbench.drivers.pair import Invalid
from bpfbench.drivers.wrk import Load
from bpfbench.sampling import Bench, Cell, Proof, Sample

LOCATION = "location / {{ {gate}try_files /{file} =404; }}"
CONTROL = "location /gate/ { gate_control; }"
BRIEFLY = 0.25
"""Seconds to wait for an answer before looking whether the worker still lives: without one, nobody refuses connections either."""
_LOGGED = re.compile(r"gate: (unsupported|failed): (.*)")


class Unsupported(Exception):
    """This machine does not have what the engine needs, in the engine's words."""


def create() -> NginxDriver:
    """Return a driver for one run."""
    return NginxDriver(Gated)


class Gated(NginxSample):
    """See the module."""

    had = 0
    """Requests that the server had had before the load."""

    def __init__(self, bench: Bench, cell: Cell, work: Path, kept: dict[str, Any], pilot: bool) -> None:
        super().__init__(bench, cell, work, kept, pilot)
        self.engine: Sequence[str] | None = cell.arm.options.get("engine")
        self.rules = Rules(work / "rules", self.params["rules"])
        self.state: dict[str, Any] = {}
        self.trespass: dict[str, Any] = {}

    def measure(self, plan: dict[str, int]) -> Sample:
        """Measure, unless this machine does not have what the engine needs."""
        try:
            return super().measure(plan)
        except Unsupported as why:
            return Sample.unsupported(str(why))

    def configuration(self, listen: str) -> str:
        """Return a configuration in which every path leads to the file, past the gate if there is one."""
        if self.engine is None:
            return configuration(listen, server=LOCATION.format(gate="", file=FILE))
        words = [expand(word, self.bench, self.work) for word in self.engine]
        return configuration(
            listen, top=f"load_module {_quoted(str(self.package() / 'gate.so'))};",
            http=f"gate_engine {' '.join(map(_quoted, words))}; gate_rules {_quoted(str(self.rules.path))};",
            server=f"{LOCATION.format(gate='gate on; ', file=FILE)} {CONTROL}",
        )  # fmt: skip

    @contextmanager
    def bystander(self, name: str) -> Iterator[Nginx]:
        """Yield a server without the module."""
        engine, self.engine = self.engine, None
        try:
            with super().bystander(name) as server:
                yield server
        finally:
            self.engine = engine

    def gate(self, server: Nginx) -> None:
        """See that the rules hold, also changed ones, that all is counted, and that a bad rule is stopped."""
        if self.engine is None:
            self._check_matrix(server, None)
            return
        self._wait_until_open(server)
        if self.pilot:
            self._try_to_trespass(server)
        for rules in (self.params["rules"], OTHER, self.params["rules"]):
            self.rules.change(rules)
            self._check_matrix(server, rules)

    def begin(self, server: Nginx) -> None:
        """Take down what has been counted so far."""
        if self.engine is not None:
            self.state = self.control(server, "state")
        server.rest()
        self.had = server.requests()

    def account(self, server: Nginx, load: Load) -> tuple[Proof, dict[str, float], dict[str, Any]]:
        """Compare what the engine has counted with what the server has."""
        server.rest()
        had = server.requests() - 1 - self.had
        if self.engine is None:
            return self.bare(server), {}, {"requests_served": had}
        self.same_requests(load, had)
        return self.decided(server, had), {}, {"requests_served": had, "trespass": self.trespass}

    def bare(self, server: Nginx) -> Proof:
        """Return the proof of a server without the module."""
        with inside(server.worker) as place:
            mapped = (place / "maps").read_text(errors="replace")
        return Proof("module loaded", 0, mapped.count("/gate.so\n"))

    def decided(self, server: Nginx, expected: int, passed: bool = True) -> Proof:
        """Return the proof that so many decisions were counted since the last look at the state, all alike. Raises ``Invalid``."""
        before, self.state = self.state, self.control(server, "state")
        if children(server.child.pid) != [server.worker]:
            raise Invalid("the worker is not the one that was started")
        found, others = ("accepted", "rejected") if passed else ("rejected", "accepted")
        if self.state[others] != before[others] or self.state["errors"]:
            raise Invalid(f"the engine has counted {json.dumps(self.state)}, and before {json.dumps(before)}")
        return Proof("decisions", expected, self.state[found] - before[found])

    def control(self, server: Nginx, what: str, patience: float = START_DEADLINE) -> dict[str, Any]:
        """Return what the module says of itself. Raises ``ServerError``."""
        status, body = _asked(HTTPConnection(ADDRESS, server.port, timeout=patience), f"/gate/{what}", server)
        if status != 200:
            raise ServerError(f"the module answered {what} with {status}\n{server.child.tail()}")
        return fields_of(what, body.decode(errors="replace"))

    def _evidence(self) -> Evidence:
        if self.engine is None:
            return Evidence()
        kept = {name: self.state[name] for name in ("bounded_by", "compile_ns", "code_size")}
        return Evidence(self.state["engine"], self.cell.runtime.backend, kept)

    def _start_server(self) -> Nginx:
        """A worker that cannot open its engine may be gone before it is found."""
        if "lacks" in self.cell.arm.options:
            raise Unsupported(self.cell.arm.options["lacks"])
        try:
            return super()._start_server()
        except ServerError as error:
            raise self._refusal() or error from None

    def _start_loader(self, server: Nginx | None) -> None:
        """Nothing is attached: the engine is the module's."""

    def _wait_until_open(self, server: Nginx) -> None:
        """Wait for the engine; a worker that cannot open it has said why, and ended."""
        limit = time.monotonic() + START_DEADLINE
        while True:
            try:
                self.state = self.control(server, "state", BRIEFLY)
            except ServerError:
                if children(server.child.pid) != [server.worker]:
                    raise self._refusal() or ServerError(f"the worker has ended\n{server.child.tail()}") from None
                if time.monotonic() > limit:
                    raise
            else:
                return

    def _refusal(self) -> Exception | None:
        """Return why the worker could not open its engine, if it has said so."""
        log = self.work / "nginx.out"
        found = _LOGGED.search(log.read_text(errors="replace")) if log.exists() else None
        if found is None:
            return None
        return Unsupported(found[2]) if found[1] == "unsupported" else Invalid(found[2])

    def _check_matrix(self, server: Nginx, rules: Sequence[str] | None) -> None:
        """Raises ``Invalid`` for a wrong answer or a wrong count. ``rules`` are None where there is no module."""
        before = self.control(server, "state") if rules is not None else {}
        passed, tries = 0, matrix([*self.params["rules"], *OTHER])
        connection = HTTPConnection(ADDRESS, server.port, timeout=START_DEADLINE)
        try:
            for asked, meant in tries:
                expected = 200 if rules is None or allowed(meant, rules) else 403
                status, body = _asked(connection, asked, server, close=False)
                if status != expected or (status == 200) != (body == self.body):
                    raise Invalid(f"{asked} was answered with {status} and {len(body)} bytes, expected {expected}; rules: {rules}")
                passed += status == 200
        finally:
            connection.close()
        if rules is not None:
            after = self.control(server, "state")
            counted = after["accepted"] - before["accepted"], after["rejected"] - before["rejected"]
            if counted != (passed, len(tries) - passed):
                raise Invalid(f"the engine has counted {counted} of {passed} passed and {len(tries) - passed} refused")

    def _try_to_trespass(self, server: Nginx) -> None:
        self.trespass = self.control(server, "trespass")
        reached, wanted = bool(self.trespass["read"]), bool(self.cell.arm.options.get("reaches"))
        if reached and not wanted:
            raise Invalid(f"nothing bounds the rule's memory: a bad rule has read {self.trespass['read']} bytes of nginx's")
        if wanted and (self.trespass["right"], self.trespass["said"]) != (self.trespass["read"], "nothing stopped it"):
            raise Invalid(f"the attempt at nginx's memory proves nothing: unbounded code got {json.dumps(self.trespass)}")
        if wanted and not reached:
            raise Invalid(f"the attempt at nginx's memory proves nothing: code without bounds was stopped: {self.trespass['said']}")


def _asked(connection: HTTPConnection, path: str, server: Nginx, *, close: bool = True) -> tuple[int, bytes]:
    try:
        connection.request("GET", path, headers={"Connection": "close"} if close else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException) as error:
        raise ServerError(f"nginx did not answer GET {path}: {error!r}\n{server.child.tail()}") from error
    finally:
        if close:
            connection.close()


def _quoted(word: str) -> str:
    """Return a word as nginx's configuration wants it."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
