"""The uprobe workload on this machine's kernel: every case of the experiment's spec, and what can go wrong.

Only counts are asserted, never times.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bpfbench.build import workload
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.model.types import Case
from bpfbench.process.child import Child
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.errors import Died, TimedOut
from bpfbench.process.reaper import Reaper

ROOT = Path(__file__).parents[2]
MODEL = load(Layout.of(ROOT))
CASES = MODEL.experiments["uprobe"].cases
DEADLINE = 30.0

FIRST_BYTES = {
    "bench_push": "55",
    "bench_mov": "4889f8",
    "bench_movslq": "4863ce",
    "bench_nop1": "90",
    "bench_nop5": "0f1f440000",
    "bench_endbr64": "f30f1efa",
}


def obstacle() -> str | None:
    """Say what keeps this machine from attaching a uprobe."""
    if os.geteuid() != 0:
        return "needs root: loading BPF programs and attaching uprobes"
    if not Path("/sys/bus/event_source/devices/uprobe/type").exists():
        return "this kernel has no uprobes (CONFIG_UPROBE_EVENTS)"
    missing = [name for name in ("clang", "gcc") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


OBSTACLE = obstacle()
pytestmark = [pytest.mark.system, pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))]


@dataclass(frozen=True)
class Bench:
    """A private copy of the victim, and the means to start it and the loader."""

    tree: Path
    victim_copy: Path
    reaper: Reaper
    work: Path

    def start(self, name: str, program: Path, *options: str) -> Child:
        argv = (str(program), *options)
        command = Command(argv, minimal_env(self.work), self.work, name, stdin=True)
        return self.reaper.start(command, self.work)

    def loader(self, *options: str, target: Path | None = None, name: str = "loader") -> Child:
        given = ("--object", str(self.tree / "program.bpf.o"), "--target", str(target or self.victim_copy))
        return self.start(name, self.tree / "loader", *given, *options)

    def victim(self, *options: str, program: Path | None = None, name: str = "victim") -> Child:
        return self.start(name, program or self.victim_copy, *options)

    def another_copy(self, name: str) -> Path:
        return Path(shutil.copy2(self.tree / "victim", self.work / name))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("build") / "tree"
    workload.make(MODEL.packages["uprobe"], ROOT, tree, cache=tmp_path_factory.mktemp("toolchain"))
    return tree


@pytest.fixture(scope="session")
def reaper() -> Iterator[Reaper]:
    with Reaper("test-uprobe-workload") as reaper:
        yield reaper


@pytest.fixture
def bench(tree: Path, reaper: Reaper, tmp_path: Path) -> Bench:
    bench = Bench(tree, tmp_path / "victim", reaper, tmp_path)
    bench.another_copy("victim")
    return bench


def answer(child: Child, word: str, command: str | None = None) -> Any:
    """Send ``command`` and return the JSON of the answer, which must begin with ``word``."""
    if command:
        child.send(command)
    line = child.expect(rf"^({word}|ERROR) ", DEADLINE)
    assert line.startswith(f"{word} "), line
    return json.loads(line.partition(" ")[2])


def refusal(child: Child) -> Mapping[str, Any]:
    """Return the JSON of an ERROR line; the program must end with status 3 after it."""
    error = answer(child, "ERROR")
    assert child.wait(DEADLINE).code == 3
    return dict(error)


def quit_all(*children: Child) -> None:
    for child in children:
        child.send("quit")
        assert child.wait(DEADLINE).code == 0


def loader_options(case: Case) -> list[str]:
    attach = [f"--attach={text}" for text in case.params["attach"]]
    return attach + [f"--fill={text}" for text in case.params.get("fill", [])]


def victim_options(case: Case) -> list[str]:
    before = case.params.get("before")
    return [f"--function={case.params['function']}", *([f"--before={before}"] if before else [])]


def expected_counts(case: Case, calls: int) -> dict[str, dict[str, int]]:
    """Every hook is hit once a call, and every program but the bare ones makes 1000 operations a hit."""
    programs = [text.split(":")[1] for text in case.params["attach"]]
    bare = {"at_entry", "at_return"}
    return {
        "hits": dict.fromkeys(programs, calls),
        "inner": {name: 0 if name in bare else 1000 * calls for name in programs},
    }


def ready_unless_refused(case: Case, loader: Child) -> Any:
    """Return what the loader says when ready; None where the kernel refuses bpf_probe_write_user, as it may.

    Then the loader must have said so, with the verifier's log; any other refusal is an error.
    """
    line = loader.expect("^(READY|ERROR) ", DEADLINE)
    word, _, text = line.partition(" ")
    if word == "READY":
        return json.loads(text)
    error = json.loads(text)
    assert (case.name, error["stage"], error["program"]) == ("write", "load", "write_user")
    assert "bpf_probe_write_user" in error["log"]
    assert loader.wait(DEADLINE).code == 3
    return None


# --- every case ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_call_and_every_operation_is_counted(bench: Bench, case: Case) -> None:
    loader = bench.loader(*loader_options(case))
    ready = ready_unless_refused(case, loader)
    if ready is None:
        pytest.skip("this kernel refuses bpf_probe_write_user (and the loader said so)")
    check_programs(case, ready["programs"])
    victim = bench.victim(*victim_options(case))
    answer(victim, "READY")
    answer(victim, "WARM", "warm 7")
    loader.send("reset")
    loader.expect("^OK reset$", DEADLINE)
    done = answer(victim, "DONE", "run 10 3")
    quit_all(victim)
    counted = answer(loader, "COUNTERS", "read")
    quit_all(loader)
    assert (done["calls"], done["made"], len(done["rounds"])) == (37, 30, 3)
    assert done["before_calls"] == (37 if "before" in case.params else 0)
    assert counted == expected_counts(case, 30)
    if "writes" in case.params:
        assert done["buffer"].startswith(case.params["writes"].encode().hex())


def check_programs(case: Case, programs: list[dict[str, Any]]) -> None:
    """The programs are those of the spec, attached where it says, and compiled by the kernel."""
    attached = [":".join((p["attach"]["kind"], p["name"], p["attach"]["function"])) for p in programs]
    assert attached == case.params["attach"]
    for program in programs:
        assert program["jited_length"] > 0
        assert program["verified_instructions"] > 0
        assert re.fullmatch("[0-9a-f]{16}", program["tag"])


# --- the victim alone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FIRST_BYTES)
def test_the_first_instruction_is_the_one_that_the_case_names(bench: Bench, function: str) -> None:
    victim = bench.victim(f"--function={function}")
    ready = answer(victim, "READY")
    done = answer(victim, "DONE", "run 5 2")
    quit_all(victim)
    assert ready["first_bytes"].startswith(FIRST_BYTES[function])
    assert done["live_bytes"] == ready["first_bytes"], "nobody has patched it"
    assert done["buffer"] == ready["buffer"] == b"abcdefghijklmnop".hex()
    assert done["clock"] == "CLOCK_MONOTONIC_RAW"
    assert ready["pid"] == victim.pid


# --- probes that do not fire, and proofs that do not hold ---------------------------------------------------


def run_and_count(bench: Bench, loader: Child, victim: Child, calls: int) -> Any:
    answer(loader, "READY")
    answer(victim, "READY")
    answer(victim, "DONE", f"run {calls} 1")
    quit_all(victim)
    counted = answer(loader, "COUNTERS", "read")
    quit_all(loader)
    return counted


def test_a_function_that_is_never_called_counts_nothing(bench: Bench) -> None:
    loader = bench.loader("--attach=uprobe:at_entry:bench_uncalled")
    counted = run_and_count(bench, loader, bench.victim("--function=bench_push"), 20)
    assert counted["hits"] == {"at_entry": 0}


def test_clang_keeps_the_calls_too(bench: Bench) -> None:
    """It knows better than gcc how to remove a loop whose result nobody looks at."""
    artefact = next(a for a in MODEL.packages["uprobe"].artefacts if a.output == "victim")
    options = ["-D_GNU_SOURCE", "-O3", *(f"-I{place}" for place in artefact.includes), *artefact.flags]
    made = bench.work / "victim-by-clang"
    subprocess.run(["clang", *options, *artefact.sources, "-o", made], cwd=ROOT, check=True)
    loader = bench.loader("--attach=uprobe:at_entry:bench_push", target=made)
    counted = run_and_count(bench, loader, bench.victim("--function=bench_push", program=made), 1234)
    assert counted["hits"] == {"at_entry": 1234}


def test_calls_of_another_copy_are_not_counted(bench: Bench) -> None:
    loader = bench.loader("--attach=uprobe:at_entry:bench_push")
    other = bench.another_copy("other-victim")
    counted = run_and_count(bench, loader, bench.victim("--function=bench_push", program=other), 20)
    assert counted["hits"] == {"at_entry": 0}


def test_a_read_of_other_bytes_is_no_proof(bench: Bench) -> None:
    code = bench.victim_copy.read_bytes()
    assert code.count(b"abcdefghijklmnop") == 1
    bench.victim_copy.write_bytes(code.replace(b"abcdefghijklmnop", b"abcdefgXijklmnop"))
    loader = bench.loader("--attach=uprobe:read_user:bench_push")
    counted = run_and_count(bench, loader, bench.victim("--function=bench_push"), 20)
    assert counted == {"hits": {"read_user": 20}, "inner": {"read_user": 0}}


@pytest.mark.parametrize("program", ["hash_lookup", "per_cpu_hash_lookup", "hash_delete_hit"])
def test_operations_on_absent_keys_are_no_proof(bench: Bench, program: str) -> None:
    loader = bench.loader(f"--attach=uprobe:{program}:bench_push")
    counted = run_and_count(bench, loader, bench.victim("--function=bench_push"), 20)
    assert counted == {"hits": {program: 20}, "inner": {program: 0}}


def test_a_hit_stops_at_the_first_operation_with_another_outcome(bench: Bench) -> None:
    # Keys are present, so every hit deletes the first one that is left, and stops there.
    loader = bench.loader("--attach=uprobe:hash_delete_miss:bench_push", "--fill=hash:1000")
    counted = run_and_count(bench, loader, bench.victim("--function=bench_push"), 10)
    assert counted["inner"] == {"hash_delete_miss": sum(range(10))}


def test_probes_go_with_their_loader(bench: Bench) -> None:
    loader = bench.loader("--attach=uprobe:at_entry:bench_push")
    answer(loader, "READY")
    victim = bench.victim("--function=bench_push")
    ready = answer(victim, "READY")
    during = answer(victim, "DONE", "run 10 1")
    quit_all(loader)
    after = answer(victim, "DONE", "run 10 1")
    quit_all(victim)
    assert during["live_bytes"] != ready["first_bytes"] == after["live_bytes"]


# --- what goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "stage", "program"),
    [
        (["--attach=uprobe:at_entry:no_such_function"], "attach", "at_entry"),
        (["--attach=uprobe:no_such_program:bench_push"], "open", "no_such_program"),
        (["--attach=uprobe:at_entry:bench_push", "--fill=no_such_map:1"], "fill", None),
        (["--attach=uprobe:at_entry:bench_push", "--fill=hash:2000"], "fill", None),
    ],
)
def test_a_loader_says_at_which_stage_it_failed(
    bench: Bench, options: list[str], stage: str, program: str | None
) -> None:
    error = refusal(bench.loader(*options))
    assert (error["stage"], error["program"]) == (stage, program)
    assert error["errno"] > 0
    assert re.search(r"no_such_\w+|\bhash\b", error["message"])


@pytest.mark.parametrize("content", [None, b"", b"not an object"])
def test_an_object_that_cannot_be_opened(bench: Bench, content: bytes | None) -> None:
    file = bench.work / "broken.bpf.o"
    if content is not None:
        file.write_bytes(content)
    options = ("--object", str(file), "--target", "x", "--attach", "uprobe:at_entry:bench_push")
    error = refusal(bench.start("loader", bench.tree / "loader", *options))
    assert (error["stage"], error["log"]) == ("open", None)
    assert str(file) in error["message"]


def test_a_target_that_is_not_there(bench: Bench) -> None:
    loader = bench.loader("--attach=uprobe:at_entry:bench_push", target=bench.work / "nowhere")
    assert refusal(loader)["stage"] == "attach"


@pytest.mark.parametrize(
    "options",
    [
        [], ["--nonsense"], ["--attach=uprobe:at_entry"], ["--attach=kprobe:at_entry:bench_push"], ["extra"],
        ["--attach=uprobe:at_entry:bench_push", "--fill=hash"],
        ["--attach=uprobe:at_entry:bench_push", "--fill=hash:many"],
        ["--attach=uprobe:at_entry:bench_push"] * 9,
    ],
)
def test_a_wrong_command_line_of_the_loader(bench: Bench, options: list[str]) -> None:
    loader = bench.loader(*options)
    assert answer(loader, "ERROR")["stage"] == "options"
    assert loader.wait(DEADLINE).code == 2


@pytest.mark.parametrize(
    "options", [[], ["--function=nope"], ["--function=bench_push", "--crash-after=-1"], ["--nonsense"], ["x"]]
)
def test_a_wrong_command_line_of_the_victim(bench: Bench, options: list[str]) -> None:
    victim = bench.victim(*options)
    assert answer(victim, "ERROR")["stage"] == "options"
    assert victim.wait(DEADLINE).code == 2


@pytest.mark.parametrize(
    "command", ["", "nonsense", "warm", "run", "run 1", "run 1 0", "run 1 -1", "run 1 10001"]
)
def test_a_command_that_the_victim_does_not_know(bench: Bench, command: str) -> None:
    victim = bench.victim("--function=bench_push")
    answer(victim, "READY")
    victim.send(command)
    assert refusal(victim)["stage"] == "command"


def test_a_command_that_the_loader_does_not_know(bench: Bench) -> None:
    loader = bench.loader("--attach=uprobe:at_entry:bench_push")
    answer(loader, "READY")
    loader.send("reset everything")
    assert refusal(loader)["stage"] == "command"


def test_the_end_of_input_means_quit(bench: Bench) -> None:
    children = [bench.victim("--function=bench_push"), bench.loader("--attach=uprobe:at_entry:bench_push")]
    for child in children:
        answer(child, "READY")
        child.close_stdin()
        assert child.wait(DEADLINE).code == 0


def test_a_crashing_victim_leaves_exact_counts(bench: Bench) -> None:
    loader = bench.loader("--attach=uprobe:at_entry:bench_push")
    answer(loader, "READY")
    victim = bench.victim("--function=bench_push", "--crash-after=25")
    answer(victim, "READY")
    victim.send("run 10 10")
    with pytest.raises(Died) as death:
        victim.expect("^DONE ", DEADLINE)
    assert death.value.exit.signal == "SIGSEGV"
    assert answer(loader, "COUNTERS", "read")["hits"] == {"at_entry": 25}
    quit_all(loader)


def test_a_hanging_victim_never_answers_and_can_be_killed(bench: Bench) -> None:
    loader = bench.loader("--attach=uprobe:at_entry:bench_push")
    answer(loader, "READY")
    victim = bench.victim("--function=bench_push", "--hang")
    answer(victim, "READY")
    victim.send("run 10 1")
    with pytest.raises(TimedOut):
        victim.expect("^DONE ", 0.2)
    os.kill(victim.pid, signal.SIGKILL)
    assert victim.wait(DEADLINE).signal == "SIGKILL"
    assert answer(loader, "COUNTERS", "read")["hits"] == {"at_entry": 0}
    quit_all(loader)


def test_without_the_capabilities_the_loader_says_so(bench: Bench) -> None:
    options = ("--object", str(bench.tree / "program.bpf.o"), "--target", str(bench.victim_copy))
    error = refusal(
        bench.start(
            "loader", Path("setpriv"), "--bounding-set=-all", "--inh-caps=-all",
            str(bench.tree / "loader"), *options, "--attach=uprobe:at_entry:bench_push",
        )
    )
    assert (error["stage"], error["errno"]) == ("load", 1)
    assert "Operation not permitted" in error["message"]
