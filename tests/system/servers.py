"""Samples of experiments with a loaded nginx, for tests: Debian's nginx and wrk serve, so that no test waits for their build."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bpfbench.build import workload
from bpfbench.drivers.nginx_load import NginxDriver
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.process import forkserver
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell, Sample

from ..debian import program

ROOT = Path(__file__).parents[2]
MODEL = load(Layout.of(ROOT))
ALLOWED = sorted(os.sched_getaffinity(0))
SERVER_CPUS, OTHER_CPUS = frozenset(ALLOWED[-1:]), frozenset(ALLOWED[:1])


def trees(package: str, temporary: pytest.TempPathFactory) -> dict[str, Path]:
    """Return packages as the specs' own would be, with Debian's programs in them."""
    folder, cache = temporary.mktemp("packages"), temporary.mktemp("toolchain")
    for name in (package, "openloop"):
        workload.make(MODEL.packages[name], ROOT, folder / name, cache=cache)
    for name, place, debian in (("nginx", "sbin/nginx", "nginx-light"), ("wrk", "bin/wrk", "wrk")):
        (folder / name / place).parent.mkdir(parents=True)
        (folder / name / place).symlink_to(program(name, debian))
    program("openssl", "openssl")
    return {name: folder / name for name in (package, "openloop", "nginx", "wrk")}


class Servers:
    """Takes samples of one experiment."""

    def __init__(self, experiment: str, outputs: dict[str, Path], work: Path, reaper: Reaper) -> None:
        found = MODEL.experiments[experiment]
        self.cases = {case.name: case for case in found.cases}
        self.arms = {arm.name: arm for arm in found.arms}
        self.bench = Bench(found, MODEL.profiles["quick"], reaper, outputs, work, SERVER_CPUS, OTHER_CPUS)
        self.driver: NginxDriver = import_module(f"bpfbench.drivers.{found.driver}").create()

    def cell(self, case: str, arm: str, **changes: Any) -> Cell:
        """Return a case on an arm, with some of its parameters changed."""
        changed = replace(self.cases[case], params={**self.cases[case].params, **changes})
        return Cell(changed, self.arms[arm], MODEL.runtimes[self.arms[arm].runtime])

    def pilot(self, case: str, arm: str, **changes: Any) -> Sample:
        """Take a pilot."""
        return self.driver.pilot(self.bench, self.cell(case, arm, **changes))[0]

    def take(self, case: str, arm: str, **changes: Any) -> list[Sample]:
        """Take a pilot and, if that is ok, a sample."""
        cell = self.cell(case, arm, **changes)
        pilot, plan = self.driver.pilot(self.bench, cell)
        return [pilot, self.driver.sample(self.bench, cell, plan, 1)] if pilot.status == "ok" else [pilot]

    def with_programs(self, **programs: Path) -> None:
        """Put other programs in the place of nginx or wrk."""
        places = {"nginx": "sbin/nginx", "wrk": "bin/wrk"}
        changed = dict(self.bench.outputs)
        for name, path in programs.items():
            tree = self.bench.work.parent / f"other-{name}"
            (tree / places[name]).parent.mkdir(parents=True, exist_ok=True)
            (tree / places[name]).unlink(missing_ok=True)
            (tree / places[name]).symlink_to(path)
            changed[name] = tree
        self.bench = replace(self.bench, outputs=changed)


@contextmanager
def servers(experiment: str, outputs: dict[str, Path], folder: Path) -> Iterator[Servers]:
    """Yield what takes samples, and see that neither directories nor processes nor shared memory are left."""
    work = folder / "work"
    work.mkdir()
    mark = f"test-{experiment}-{os.getpid()}"
    with Reaper(mark) as reaper:
        yield Servers(experiment, outputs, work, reaper)
        assert not list(work.glob("sample-*")), "a sample leaves no directory"
        assert not [process for process in forkserver.processes() if _is_server(process.pid, folder)], "a sample leaves no process"
    assert not list(Path("/dev/shm").glob(f"*{mark}*")), "a sample leaves no shared memory"


def _is_server(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(folder)
    except OSError:
        return False
