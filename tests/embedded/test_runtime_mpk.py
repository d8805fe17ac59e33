"""The segment behind a protection key, emulated by mprotect: whether the agent opens and closes it where it must.

What a key costs is not to be seen here, and whether the processor does what it promises neither.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, Segment, package
from .talk import Program
from .test_runtime import Bench, expected, options_of

CASES: list[dict[str, Any]] = yaml.safe_load((ROOT / "specs/experiments/mpk.yaml").read_text())["cases"]
PUSH = "uprobe:at_entry:bench_push"


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory, runtime: Path) -> Path:
    """Return where an agent with emulated keys is, and the ordinary shim."""
    tree = tmp_path_factory.mktemp("emulated")
    agent = next(artefact for artefact in package("embedded").artefacts if artefact.output == "agent.so")
    sources = [*agent.sources, "embedded/runtime/tests/pkey_emulated.c"]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-DEB_PKEY_EMULATED", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    libraries = [f"-l{name}" for name in agent.libraries]
    argv = ["gcc", *flags, "-Iembedded", *agent.flags, *sources, *libraries, "-o", str(tree / "agent.so")]
    subprocess.run(argv, cwd=ROOT, check=True)
    (tree / "shim.so").symlink_to(runtime / "shim.so")
    return tree


@pytest.fixture
def bench(emulated: Path, uprobe: Path, tmp_path: Path) -> Iterator[Bench]:
    segment = Segment(emulated, tmp_path, settings={"EMBEDDED_PROTECT": "1", "EMBEDDED_LOG": "info"})
    bench = Bench(segment, uprobe, tmp_path)
    yield bench
    bench.end()
    segment.file.unlink(missing_ok=True)


def permissions(bench: Bench, target: Program) -> set[str]:
    """Return the permissions of all of a target's mappings of its segment."""
    maps = Path(f"/proc/{target.pid}/maps").read_text().splitlines()
    return {line.split()[1] for line in maps if line.endswith(bench.segment.file.name)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_every_case_counts_exactly_and_leaves_the_segment_closed(bench: Bench, case: dict[str, Any]) -> None:
    loader_options, victim_options = options_of(case)
    loader = bench.loader(*loader_options)
    loader.json("READY")
    victim = bench.victim(*victim_options)
    victim.json("READY")
    assert permissions(bench, victim) == {"r--s"}
    victim.json("WARM", "warm 7")
    assert loader.ask("reset") == "OK reset"
    victim.json("DONE", "run 10 3")
    assert permissions(bench, victim) == {"r--s"}, "closed again"
    victim.quit()
    assert loader.json("COUNTERS", "read") == expected(case, 30)
    loader.quit()
    status = bench.status()
    assert (status["error"], status["protection"]["forbidden_write"]) == (None, "faulted")
    assert status["protection"]["key"] > 0


def test_each_hit_opens_once(bench: Bench) -> None:
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    victim = bench.victim("--function=bench_push")
    victim.json("READY")
    victim.json("WARM", "warm 1000")
    victim.quit()
    loader.quit()
    told = victim.errors()
    found = re.search(r"opened (\d+) times", told)
    assert found, told
    # the agent's own work opens it a few times more: at start and end, and when the doorbell rings
    assert 1000 < int(found[1]) < 1100


@pytest.mark.parametrize(
    ("missing", "why"),
    [("EMBEDDED_EMULATED_NO_KEY", "there is no protection key"), ("EMBEDDED_EMULATED_USELESS_KEY", "can be written to without the key")],
)
def test_without_a_key_that_protects_nothing_is_attached(bench: Bench, missing: str, why: str) -> None:
    victim = bench.victim("--function=bench_push", env=bench.segment.target(**{missing: "1"}))
    victim.json("READY")
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    victim.json("WARM", "warm 50")
    assert loader.json("COUNTERS", "read")["hits"] == {"at_entry": 0}
    victim.quit()
    loader.quit()
    status = json.loads(bench.segment.status.read_text())
    assert why in status["error"]
    assert status["programs"] == []


def test_unasked_the_segment_has_no_key(bench: Bench) -> None:
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    victim = bench.victim("--function=bench_push", env=bench.segment.target(EMBEDDED_PROTECT="0"))
    victim.json("READY")
    assert permissions(bench, victim) == {"rw-s"}
    victim.json("WARM", "warm 5")
    victim.quit()
    assert loader.json("COUNTERS", "read")["hits"] == {"at_entry": 5}
    loader.quit()
    assert "protection" not in bench.status()
