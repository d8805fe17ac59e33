"""Driver for the decision alone: the module of ``nginx_module`` asks its engine again and again, in timed rounds within the worker.

What a request costs besides is left out, and nothing else: rules are looked at, the path is shown and counted as for a request. The gate
is the same. The proof is the number of decisions that the engine has counted.

Options of an arm are those of ``nginx_module``. Parameters of a case: ``rules`` and ``path``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import urlencode

from bpfbench.drivers.common import START_DEADLINE
from bpfbench.drivers.engine import LEAST_ROUND_NS, MOST_CALLS, MOST_ROUNDS, ROUNDS, SHARE, times
from bpfbench.drivers.gate_rules import allowed
from bpfbench.drivers.nginx import Nginx, cpu_seconds
from bpfbench.drivers.nginx_load import NginxDriver
from bpfbench.drivers.nginx_module import Gated, Unsupported
from bpfbench.drivers.pair import Invalid
from bpfbench.sampling import Bench, Cell, Proof, Sample


def create() -> NginxDriver:
    """Return a driver for one run."""
    return NginxDriver(Decided)


class Decided(Gated):
    """See the module."""

    def __init__(self, bench: Bench, cell: Cell, work: Path, kept: dict[str, Any], pilot: bool) -> None:
        served = {"body": 16, "connections": 1, "keep_alive": True, "tls": False}
        super().__init__(bench, replace(cell, case=replace(cell.case, params={**served, **cell.case.params})), work, kept, pilot)

    def measure(self, plan: dict[str, int]) -> Sample:
        """Start, pass the gate, decide, and account for everything; fills ``plan`` in the pilot."""
        try:
            server = self._start_server()
            self.gate(server)
        except Unsupported as why:
            return Sample.unsupported(str(why))
        if self.engine is None:
            return Sample.unsupported("nothing decides here")
        if self.pilot:
            plan["calls"] = self._calibrated(server)
        self._decide(server, plan["calls"], 1, 1)  # warms caches, predictors, and compilers that look at what is used
        self.state = self.control(server, "state")
        before = cpu_seconds(server.worker)
        done = self._decide(server, plan["calls"], ROUNDS, MOST_ROUNDS)
        self.kept["calm"] = done["core"]
        cpu = cpu_seconds(server.worker) - before
        return self._judged(done, self.decided(server, done["calls"], allowed(self.params["path"], self.params["rules"])), plan, cpu)

    def _judged(self, done: dict[str, Any], proof: Proof, plan: dict[str, int], cpu: float) -> Sample:
        proved, wanted = self._evidence(), self.cell.runtime.engine
        evidence = {**proved.details, "rounds": len(done["rounds"]), "calm_rounds": sum(done["calm"]), "calls": plan["calls"]}
        about: dict[str, Any] = {
            "proof": proof, "engine": proved.engine, "backend": proved.backend, "cpu": cpu, "calm": fmean(done["calm"]),
            "evidence": {**evidence, "trespass": self.trespass},
        }  # fmt: skip
        if not proof.holds:
            return Sample.failed(f"not proved: expected {proof.expected} {proof.kind}, observed {proof.observed}", **about)
        if proved.engine != wanted:
            return Sample.failed(f"ran on {proved.engine}, expected {wanted}", **about)
        if min(done["rounds"]) <= 0:
            return Sample.failed("a round took no time at all", **about)
        metrics = times(done["rounds"], done["calm"], plan["calls"])
        if self.state["compile_ns"]:
            metrics["compile"] = float(self.state["compile_ns"])
        return Sample("ok", metrics=metrics, **about)

    def _calibrated(self, server: Nginx) -> int:
        calls = 64
        while (spent := min(self._decide(server, calls, 3, 3)["rounds"])) < LEAST_ROUND_NS and calls < MOST_CALLS:
            calls *= 2
        wanted = SHARE * self.bench.profile.sample_time * 1e9 / ROUNDS / max(spent / calls, 0.1)
        return int(max(1, min(MOST_CALLS, round(wanted))))

    def _decide(self, server: Nginx, calls: int, wanted: int, most: int) -> dict[str, Any]:
        asked = {"calls": calls, "wanted": wanted, "most": most, "calm": self.kept.get("calm", 0), "path": self.params["path"]}
        done = self.control(server, f"decide?{urlencode(asked, safe='/')}", START_DEADLINE + 100 * self.bench.profile.sample_time)
        passed = done["calls"] if allowed(self.params["path"], self.params["rules"]) else 0
        if done["errors"] or done["passed"] != passed:
            raise Invalid(f"{done['passed']} of {done['calls']} decisions let {self.params['path']} pass, {done['errors']} failed")
        return done
