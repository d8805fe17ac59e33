"""Driver for a Redis that writes a log: what durability costs, what is gained by promising less, and whether promises are kept.

An arm is a configuration: a policy of Redis' own, or an extension of the policy ``always``. It states its promise: how many
acknowledged updates a crash may cost, or those of how many seconds. A sample is a fresh server on a fresh disk. First comes a load
of redis-benchmark; the server must have had every request, and an extension must have seen every update. Then clients of our own
write, each its own keys, until a random moment at which the power fails and the server is killed. What survived the one and what
survived the other is given to a plain server each, which is asked for every update that had been acknowledged. The sample's proof is
the number of such looks in which the promise was kept; one that was broken fails the arm.

Parameters of a case: ``clients``, ``keys``, ``size``, ``flush_us`` (of a flushfs; without it, the disk that there is).
Of the experiment or a profile: ``moments`` (crashes a sample), ``requests`` (a load, in place of as many as fill its time).
Options of an arm: ``appendfsync``, ``attach`` (``KIND:PROGRAM:PLACE`` each), ``updates`` or ``seconds`` (the promise).
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfbench.drivers.common import Garbled
from bpfbench.drivers.pair import Invalid, Refused, refused_sample
from bpfbench.drivers.redis_crash import Loss, Promise, Writer, look
from bpfbench.drivers.redis_load import Load, LoadError, offer
from bpfbench.drivers.redis_server import Redis, RedisError
from bpfbench.drivers.redis_setup import Setup, env_of
from bpfbench.process.errors import ProcessError
from bpfbench.process.identity import holds_root, remove_tree
from bpfbench.sampling import Bench, Cell, Plan, Proof, Sample

SAMPLE_TIMES = 16
"""A load lasts about this many of the profile's sample times: servers need longer than calls to show their pace."""
TRIED = 1000
"""Requests of a pilot, by which loads are sized."""
LEAST_REQUESTS = 200
SHORTEST, LONGEST = 0.02, 0.4
"""Seconds between which clients write before a crash; where seconds are promised, one second more than those."""


def create() -> RedisDriver:
    """Return a driver for one run."""
    return RedisDriver()


class RedisDriver:
    """See the module."""

    def pilot(self, bench: Bench, cell: Cell) -> tuple[Sample, Plan]:
        """Try the cell with a small load, and size the others by its rate."""
        sample = self._attempt(bench, cell, TRIED, 0)
        seconds = SAMPLE_TIMES * bench.profile.sample_time
        fitting = max(LEAST_REQUESTS, round(seconds * sample.metrics.get("rate", 0.0)))
        return sample, {"requests": int(settings(bench).get("requests", fitting))}

    def sample(self, bench: Bench, cell: Cell, plan: Plan, number: int) -> Sample:
        """Measure the cell once."""
        return self._attempt(bench, cell, plan["requests"], number)

    def _attempt(self, bench: Bench, cell: Cell, requests: int, number: int) -> Sample:
        if "flush_us" in cell.case.params and not holds_root():
            return Sample.unsupported("needs root: mounts a file system")
        work = bench.work / f"sample-{number}"
        work.mkdir()
        one = _Sample(bench, cell, work, random.Random(f"{cell.id} {number}"))
        try:
            return one.measure(requests)
        except Refused as refused:
            return refused_sample(cell, refused)
        except (Invalid, Garbled, RedisError, LoadError, ProcessError) as error:
            return Sample.failed(str(error))
        finally:
            one.stop()
            remove_tree(work)


def settings(bench: Bench) -> Mapping[str, Any]:
    """Return the experiment's parameters, with those of the profile in their places."""
    return {**bench.experiment.params, **bench.profile.params.get(bench.experiment.name, {})}


class _Sample:
    """A load and some crashes."""

    def __init__(self, bench: Bench, cell: Cell, work: Path, chance: random.Random) -> None:
        self.bench, self.cell, self.work, self.chance = bench, cell, work, chance
        self.params: Mapping[str, Any] = cell.case.params
        self.promise = Promise(cell.arm.options.get("updates"), cell.arm.options.get("seconds"))
        self.losses: list[tuple[str, Loss]] = []
        """How each crash came about, and what it cost."""
        self._setup: Setup | None = None
        self._recovered: Redis | None = None

    def measure(self, requests: int) -> Sample:
        """Load, crash, and look."""
        setup = self._start(0)
        before, served = setup.disk.flushes(), setup.server_cpu()
        setup.begin()
        load = self._offer(setup, requests)
        served = setup.server_cpu() - served
        after = setup.disk.flushes()
        counters = setup.account(requests)
        evidence = setup.evidence()
        self._crash(setup)
        for number in range(1, int(settings(self.bench).get("moments", 1))):
            self._crash(self._start(number))
        flushes = after[0] - before[0], after[1] - before[1]
        return self._sample(setup, load, flushes, {"counters": counters, "server_cpu": served, "proved": evidence})

    def stop(self) -> None:
        """End whatever still runs."""
        if self._recovered:
            self._recovered.child.stop()
        if self._setup:
            self._setup.stop()

    def _start(self, number: int) -> Setup:
        self._setup = Setup(self.bench, self.cell, self.work / str(number))
        self._setup.start()
        return self._setup

    def _offer(self, setup: Setup, requests: int) -> Load:
        return offer(
            self.bench.reaper, self.bench.outputs["redis"] / "bin" / "redis-benchmark", setup.work, setup.server, requests=requests,
            clients=self.params["clients"], keys=self.params["keys"], size=self.params["size"], cpus=self.bench.other_cpus,
        )  # fmt: skip

    def _crash(self, setup: Setup) -> None:
        """Let clients write until a random moment, crash, and look at what is left.

        The server does nothing between the two kinds of crash, so that it is not seen how it copes with a disk that fails.
        """
        writer = Writer(setup.server.port, self.params["clients"])
        writer.start()
        try:
            longest = LONGEST if self.promise.seconds is None else self.promise.seconds + 1
            time.sleep(self.chance.uniform(SHORTEST, longest))
            moment = time.monotonic()
            setup.server.freeze()
            setup.disk.cut()
            setup.server.kill()
        finally:
            writer.stop()
        setup.stop()
        for how, data in setup.disk.kept().items():
            self.losses.append((how, self._look(setup, how, data, writer.acknowledged, moment)))

    def _look(self, setup: Setup, how: str, data: Path, acknowledged: Mapping[str, float], moment: float) -> Loss:
        """Start a plain server on what is left, and ask it. Raises ``Invalid`` for a value that nobody wrote."""
        if not acknowledged:
            raise Invalid("no update was acknowledged before the crash")
        self._recovered = Redis(
            self.bench.reaper, self.bench.outputs["redis"] / "bin" / "redis-server", setup.work, env_of(setup.work, {}),
            self.bench.other_cpus, data, name=f"after-{how.replace(' ', '-')}",
        )  # fmt: skip
        try:
            with self._recovered.connect() as connection:
                loss = look(connection, acknowledged, moment)
        finally:
            self._recovered.child.stop(grace=0)
        if loss.wrong:
            raise Invalid(f"after the {how}, {len(loss.wrong)} keys have values that nobody gave them, such as {loss.wrong[0]}")
        return loss

    def _metrics(self, load: Load, flushes: tuple[int, float], latency: float | None, served: float) -> dict[str, float]:
        """Return the metrics; of flushes only where they belong to the load, and not to the second hand of a clock."""
        found = {
            "rate": load.rate, "latency_p50": load.p50, "latency_p99": load.p99, "server_cpu": 1e6 * served / load.requests,
            "lost_max": max(loss.lost for _, loss in self.losses),
        }
        if self.promise.updates is not None and flushes[0]:
            latency = flushes[1] / flushes[0]
            found["per_flush"] = load.requests / flushes[0]
        if latency is not None:
            found["flush"] = latency
        if latency is not None and self.promise.updates is not None:
            found["bound"] = bound(self.params["clients"], self.promise.updates, latency)
        return found

    def _sample(self, setup: Setup, load: Load, flushes: tuple[int, float], about: Mapping[str, Any]) -> Sample:
        proved, runtime, disk = about["proved"], self.cell.runtime, setup.disk.describe()
        broken = [(how, why) for how, loss in self.losses if (why := self.promise.broken_by(loss))]
        proof = Proof("crashes within the promise", len(self.losses), len(self.losses) - len(broken))
        evidence = {
            **proved.details, "remark": disk["remark"], "doubt": disk.get("doubt"), "disk": disk,
            "requests": load.requests, "client_cpu_s": load.cpu, "flushes": flushes[0],
            "crashes": [
                {"by": how, "acknowledged": loss.acknowledged, "lost": loss.lost, "age": round(loss.age, 4)} for how, loss in self.losses
            ],
            "programs": setup.loaded.get("programs", []), "counters": about["counters"],
        }
        shared: dict[str, Any] = {
            "proof": proof, "engine": proved.engine, "backend": proved.backend, "evidence": evidence, "cpu": about["server_cpu"] + load.cpu,
        }
        if proved.unable:
            return Sample.unsupported(proved.unable, **shared)
        if proved.wrong:
            return Sample.failed(proved.wrong, **shared)
        if broken:
            return Sample.failed(f"after the {broken[0][0]}: {broken[0][1]}", **shared)
        if (proved.engine, proved.backend) != (runtime.engine, runtime.backend):
            ran = f"ran on {proved.engine} hooked by {proved.backend}"
            return Sample.failed(f"{ran}, expected {runtime.engine} and {runtime.backend}", **shared)
        return Sample("ok", metrics=self._metrics(load, flushes, disk.get("flush_us"), about["server_cpu"]), **shared)


def bound(clients: int, promised: int, flush_us: float) -> float:
    """Return the most updates a second that a promise allows, whatever is done at once: Little's law.

    An update is under way from its request until it is durable, and that takes a flush at least, which it must precede. Clients
    that wait for each answer have one unanswered update each, and so many answered ones more may not be durable.
    """
    return (clients + promised) / (flush_us / 1e6)
