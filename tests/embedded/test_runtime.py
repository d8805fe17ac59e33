"""The runtime end to end: stock libbpf in the loader, a victim's functions, and what if either dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import compile
from .conftest import ROOT, Segment
from .talk import Program, eventually

Case = Mapping[str, Any]
CASES: list[Case] = yaml.safe_load((ROOT / "specs/experiments/uprobe.yaml").read_text())["cases"]
PUSH = "uprobe:at_entry:bench_push"


class Bench:
    """Starts loaders and victims, and ends them with the test."""

    def __init__(self, segment: Segment, tree: Path, work: Path) -> None:
        self.segment, self.tree, self.work = segment, tree, work
        self.victim_copy = Path(shutil.copy2(tree / "victim", work / "victim"))
        self._started: list[Program] = []

    def _start(self, argv: list[str | Path], env: dict[str, str], **options: Any) -> Program:
        program = Program(argv, env, **options)
        self._started.append(program)
        return program

    def loader(self, *options: str, env: dict[str, str] | None = None, **more: Any) -> Program:
        argv: list[str | Path] = [
            self.tree / "loader", "--object", self.tree / "program.bpf.o",
            "--target", self.victim_copy, *options,
        ]
        return self._start(argv, env or self.segment.loader(), **more)

    def victim(self, *options: str, env: dict[str, str] | None = None, **more: Any) -> Program:
        return self._start([self.victim_copy, *options], env or self.segment.target(), **more)

    def status(self) -> Any:
        return json.loads(self.segment.status.read_text())

    def end(self) -> None:
        for program in self._started:
            if program.process.poll() is None:
                program.kill()


@pytest.fixture
def bench(segment: Segment, uprobe: Path, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(segment, uprobe, tmp_path)
    yield bench
    bench.end()


def options_of(case: Case) -> tuple[list[str], list[str]]:
    attach = [f"--attach={text}" for text in case["params"]["attach"]]
    fill = [f"--fill={text}" for text in case["params"].get("fill", [])]
    before = case["params"].get("before")
    function = case["params"]["function"]
    return attach + fill, [f"--function={function}", *([f"--before={before}"] if before else [])]


def expected(case: Case, calls: int) -> dict[str, dict[str, int]]:
    programs = [text.split(":")[1] for text in case["params"]["attach"]]
    bare = {"at_entry", "at_return"}
    return {
        "hits": dict.fromkeys(programs, calls),
        "inner": {name: 0 if name in bare else 1000 * calls for name in programs},
    }


@pytest.mark.parametrize("engine", ["jit", "interpreter"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_every_case_of_the_uprobe_experiment_counts_exactly(bench: Bench, case: Case, engine: str) -> None:
    loader_options, victim_options = options_of(case)
    loader = bench.loader(*loader_options)
    ready = loader.json("READY")
    victim = bench.victim(*victim_options, env=bench.segment.target(EMBEDDED_ENGINE=engine))
    victim.json("READY")
    victim.json("WARM", "warm 7")
    assert loader.ask("reset") == "OK reset"
    done = victim.json("DONE", "run 10 3")
    victim.quit()
    assert loader.json("COUNTERS", "read") == expected(case, 30)
    loader.quit()
    if "writes" in case["params"]:
        assert done["buffer"].startswith(case["params"]["writes"].encode().hex())
    assert all(program["jited_length"] > 0 for program in ready["programs"])
    status = bench.status()
    assert (status["engine"], status["backend"], status["error"]) == (engine, "trampoline", None)
    # names are cut as the kernel cuts them
    names = {name[:15] for name in expected(case, 0)["hits"]}
    assert {program["program"] for program in status["programs"]} == names
    assert all(program["attached"] and program["error"] is None for program in status["programs"])


# --- attaching and detaching ------------------------------------------------------------------------------


def test_a_running_target_is_probed_while_there_is_a_loader(bench: Bench) -> None:
    victim = bench.victim("--function=bench_push")
    bare = victim.json("READY")["first_bytes"]
    assert victim.json("DONE", "run 5 1")["live_bytes"] == bare
    for _ in range(3):
        loader = bench.loader(f"--attach={PUSH}")
        loader.json("READY")
        assert victim.json("DONE", "run 5 1")["live_bytes"] != bare
        assert loader.json("COUNTERS", "read")["hits"] == {"at_entry": 5}
        loader.quit()
        assert victim.json("DONE", "run 5 1")["live_bytes"] == bare
    victim.quit()


def test_two_loaders_at_once_on_one_function(bench: Bench) -> None:
    loaders = [bench.loader(f"--attach={PUSH}") for _ in range(2)]
    for loader in loaders:
        loader.json("READY")
    victim = bench.victim("--function=bench_push")
    victim.json("READY")
    victim.json("DONE", "run 10 1")
    loaders[0].quit()
    victim.json("DONE", "run 10 1")
    assert loaders[1].json("COUNTERS", "read")["hits"] == {"at_entry": 20}
    loaders[1].quit()
    victim.quit()


def test_another_copy_of_the_file_is_another_target(bench: Bench, tmp_path: Path) -> None:
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    other = Path(shutil.copy2(bench.victim_copy, tmp_path / "other"))
    victim = Program([other, "--function=bench_push"], bench.segment.target())
    victim.json("READY")
    victim.json("DONE", "run 10 1")
    victim.quit()
    assert loader.json("COUNTERS", "read")["hits"] == {"at_entry": 0}
    loader.quit()


def test_another_segment_is_another_world(bench: Bench) -> None:
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    other = Segment(bench.segment.runtime, bench.work)
    victim = bench.victim("--function=bench_push", env=other.target())
    bare = victim.json("READY")["first_bytes"]
    assert victim.json("DONE", "run 10 1")["live_bytes"] == bare
    victim.quit()
    assert not other.file.exists()


def test_without_a_segment_nothing_is_touched(bench: Bench) -> None:
    env = bench.segment.target()
    del env["EMBEDDED_SEGMENT"]
    victim = bench.victim("--function=bench_push", env=env)
    bare = victim.json("READY")["first_bytes"]
    assert victim.json("DONE", "run 10 1")["live_bytes"] == bare
    victim.quit()


# --- with a loader of its own: one process alone, and many cycles ------------------------------------------


@pytest.fixture(scope="module")
def cycles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile.program("cycles", tmp_path_factory.mktemp("cycles"), *compile.LIBBPF)


def cycle(bench: Bench, cycles: Path, times: int, pid: int) -> Program:
    program: list[str | Path] = [bench.tree / "program.bpf.o", "at_entry", bench.victim_copy, "bench_push"]
    return Program([cycles, *program, str(times), str(pid)], bench.segment.loader())


def test_a_link_with_a_pid_is_for_that_process_alone(bench: Bench, cycles: Path) -> None:
    victims = [bench.victim("--function=bench_push") for _ in range(2)]
    bare = [victim.json("READY")["first_bytes"] for victim in victims]
    loader = cycle(bench, cycles, 0, victims[0].pid)
    assert loader.line() == "READY", loader.errors()
    live = [victim.json("DONE", "run 1 1")["live_bytes"] for victim in victims]
    assert live[0] != bare[0]
    assert live[1] == bare[1]
    loader.end_input()
    loader.process.wait()
    assert victims[0].json("DONE", "run 1 1")["live_bytes"] == bare[0]
    for victim in victims:
        victim.quit()


def test_a_hundred_cycles_of_attaching_under_load_leave_nothing_behind(bench: Bench, cycles: Path) -> None:
    victim = bench.victim("--function=bench_push")
    bare = victim.json("READY")["first_bytes"]
    loader = cycle(bench, cycles, 100, -1)
    assert loader.line() == "READY", loader.errors()
    # it calls all the while: what it reports of its text in the middle of a cycle says nothing of the last one
    while loader.process.poll() is None:
        victim.json("DONE", "run 1000000 1")
    assert loader.line() == "cycles 100 left 0"
    assert victim.json("DONE", "run 1 1")["live_bytes"] == bare
    victim.quit()


# --- what goes wrong --------------------------------------------------------------------------------------


def test_a_killed_loaders_probes_go(bench: Bench) -> None:
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    victim = bench.victim("--function=bench_push")
    bare = victim.json("READY")["first_bytes"]
    assert victim.json("DONE", "run 5 1")["live_bytes"] != bare
    loader.kill()
    eventually(lambda: bool(victim.json("DONE", "run 5 1")["live_bytes"] == bare), "detached")
    victim.quit()
    assert not bench.segment.file.exists()


def test_a_killed_target_leaves_exact_counts_and_a_segment_that_works(bench: Bench) -> None:
    loader = bench.loader("--attach=uprobe:hash_update:bench_push")
    loader.json("READY")
    for _ in range(3):
        victim = bench.victim("--function=bench_push")
        victim.json("READY")
        victim.json("DONE", "run 10 1")
        victim.kill()
    assert loader.json("COUNTERS", "read") == {"hits": {"hash_update": 30}, "inner": {"hash_update": 30000}}
    loader.quit()
    assert not bench.segment.file.exists()


def test_targets_killed_in_the_middle_of_map_operations_lock_nothing(bench: Bench) -> None:
    attach = ("--attach=uprobe:hash_delete_hit:bench_push", "--attach=uprobe:hash_refill:bench_refill")
    loader = bench.loader(*attach)
    loader.json("READY")
    for _ in range(10):
        victim = bench.victim("--function=bench_push", "--before=bench_refill")
        victim.json("READY")
        assert victim.process.stdin is not None
        victim.process.stdin.write(b"run 1000000 1\n")
        # wait for hits, whenever they come, then kill it wherever it is
        eventually(lambda: bool(loader.json("COUNTERS", "read")["hits"]["hash_refill"]), "a hit")
        victim.kill()
    assert loader.ask("reset") == "OK reset"
    victim = bench.victim("--function=bench_push", "--before=bench_refill")
    victim.json("READY")
    victim.json("DONE", "run 100 1")
    victim.quit()
    counted = loader.json("COUNTERS", "read")
    assert counted["inner"] == {"hash_delete_hit": 100_000, "hash_refill": 100_000}
    loader.quit()


def test_the_next_run_reclaims_what_killed_ones_left(bench: Bench) -> None:
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    loader.kill()
    assert bench.segment.file.exists()
    other = Segment(bench.segment.runtime, bench.work)
    second = bench.loader(f"--attach={PUSH}", env=other.loader())
    second.json("READY")
    assert not bench.segment.file.exists(), "a loader removes segments of the dead"
    second.quit()
    third = bench.loader(f"--attach={PUSH}")
    third.json("READY")
    third.quit()
    assert not bench.segment.file.exists()


def test_a_stopped_target_does_not_stop_a_loader_for_ever(bench: Bench) -> None:
    victim = bench.victim("--function=bench_push")
    victim.json("READY")
    os.kill(victim.pid, signal.SIGSTOP)
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    os.kill(victim.pid, signal.SIGCONT)
    eventually(lambda: bool(victim.json("DONE", "run 1 1")["live_bytes"].startswith("e9")), "attached")
    victim.quit()
    loader.quit()


def test_an_engine_that_is_not_there_is_said_and_nothing_else_happens(bench: Bench) -> None:
    victim = bench.victim("--function=bench_push", env=bench.segment.target(EMBEDDED_ENGINE="steam"))
    bare = victim.json("READY")["first_bytes"]
    assert victim.json("DONE", "run 1 1")["live_bytes"] == bare
    assert "steam" in bench.status()["error"]
    victim.quit()
    assert "steam" in victim.errors()


# --- without privileges -----------------------------------------------------------------------------------

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, to be somebody else"
)
def test_a_user_without_privileges_gets_unverified_programs(bench: Bench, uprobe: Path) -> None:
    work = Path(tempfile.mkdtemp(prefix="embedded-test-"))
    try:
        for file in (*uprobe.iterdir(), *bench.segment.runtime.iterdir()):
            if file.is_file():
                shutil.copy2(file, work)
        shutil.chown(work, 65534, 65534)
        work.chmod(0o755)
        segment = Segment(work, work)
        preload = ["env", f"LD_PRELOAD={work / 'shim.so'}"]
        argv: list[str | Path] = [*NOBODY, *preload, work / "loader", "--object", work / "program.bpf.o"]
        env = segment.loader()
        del env["LD_PRELOAD"]
        loader = Program([*argv, "--target", work / "victim", "--attach=uprobe:read_user:bench_push"], env)
        loader.json("READY")
        victim = Program(
            [*NOBODY, "env", f"LD_PRELOAD={work / 'agent.so'}", work / "victim", "--function=bench_push"],
            {**segment.target(), "LD_PRELOAD": ""},
        )
        victim.json("READY")
        victim.json("DONE", "run 10 1")
        victim.quit()
        assert loader.json("COUNTERS", "read") == {"hits": {"read_user": 10}, "inner": {"read_user": 10000}}
        loader.quit()
        (program,) = json.loads(segment.status.read_text())["programs"]
        assert program["verification"] == "unverified"
        assert "Operation not permitted" in program["verification_reason"]
    finally:
        shutil.rmtree(work)


def test_a_child_of_a_target_that_cleared_its_environment_still_leaves_its_status(bench: Bench) -> None:
    loader = bench.loader("--attach=uprobe:at_entry:bench_push")
    loader.json("READY")
    code = "import os\nfor name in list(os.environ): del os.environ[name]\nif os.fork(): os.wait()"
    subprocess.run([sys.executable, "-ISc", code], env=bench.segment.target(), check=True, timeout=30)
    children = list(bench.segment.status.parent.glob("status.json.*"))
    assert [path for path in children if not json.loads(path.read_text())["error"]], "as servers do before their workers work"
    loader.quit()
