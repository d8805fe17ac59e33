"""The embedded runtime as its package spec builds it, and a fresh segment for every test."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from bpfbench.build import workload
from bpfbench.model.types import Artefact, Location, Package

from . import compile
from .compile import ROOT as ROOT


def package(name: str) -> Package:
    """Read one package's spec by itself, whatever the state of the others."""
    place = f"specs/packages/{name}.yaml"
    spec = yaml.safe_load((ROOT / place).read_text())
    artefacts = tuple(
        Artefact(
            artefact["output"], artefact["kind"], tuple(artefact["sources"]),
            tuple(artefact.get("includes", ())), tuple(artefact.get("flags", ())),
            tuple(artefact.get("libraries", ())), artefact.get("config"),
        )
        for artefact in spec["artefacts"]
    )
    return Package(
        name, spec["title"], spec["recipe"], Location(place, 1, 1), inputs=tuple(spec["inputs"]),
        options=spec.get("options", {}), artefacts=artefacts,
    )


def _build(name: str, factory: pytest.TempPathFactory) -> Path:
    tree = factory.mktemp(name) / "tree"
    workload.make(package(name), ROOT, tree, cache=factory.mktemp("toolchain"))
    return tree


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where shim.so and agent.so are; EMBEDDED_TREE names another build."""
    if "EMBEDDED_TREE" in os.environ:
        return Path(os.environ["EMBEDDED_TREE"])
    return _build("embedded", tmp_path_factory)


@pytest.fixture(scope="session")
def uprobe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the uprobe workload's loader, victim and programs are."""
    return _build("uprobe", tmp_path_factory)


@pytest.fixture(scope="session")
def pitfalls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the loader, the target and the programs of embedded/tests are."""
    tree, source = tmp_path_factory.mktemp("pitfalls"), ROOT / "embedded/tests"
    compile.program("probes", tree, *compile.LIBBPF, source=source)
    compile.bpf_object("pitfalls", tree, source=source)
    argv = ["g++", "-D_GNU_SOURCE", "-std=gnu++17", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-rdynamic"]
    subprocess.run([*argv, source / "pitfalls.cpp", "-o", tree / "pitfalls", "-lpthread"], check=True)
    return tree


@dataclass(frozen=True)
class Segment:
    """A name for shared memory of one test, and the environments that go with it."""

    runtime: Path
    work: Path
    name: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:12]}")
    settings: Mapping[str, str] = field(default_factory=dict)
    """More of every target's environment."""

    @property
    def file(self) -> Path:
        return Path(f"/dev/shm/embedded.{self.name}")

    @property
    def status(self) -> Path:
        return self.work / "status.json"

    def _environment(self, library: str, more: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.work),
            "EMBEDDED_SEGMENT": self.name, "LD_PRELOAD": str(self.runtime / library), **more,
        }

    def loader(self, **more: str) -> dict[str, str]:
        return self._environment("shim.so", more)

    def target(self, **more: str) -> dict[str, str]:
        return self._environment("agent.so", {"EMBEDDED_STATUS": str(self.status), **self.settings, **more})


@pytest.fixture
def segment(runtime: Path, tmp_path: Path) -> Iterator[Segment]:
    segment = Segment(runtime, tmp_path)
    yield segment
    segment.file.unlink(missing_ok=True)
