"""Programs that crash, hang, are killed, or do something else than what is measured: their arm is *failed*, the others are measured."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .bad_luck import ENTRY, Checkout, Running, copy, kill
from .conftest import NAME
from .troubles import leave_behind

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("kernel_arm")]

Another = Callable[[Checkout], Checkout]

BAD_CASES = {
    "crashes": {**ENTRY, "victim_options": ["--crash-after", "20"]},
    "hangs": {**ENTRY, "victim_options": ["--hang"]},
    "wrong_symbol": {**ENTRY, "attach": ["uprobe:at_entry:bench_pull"]},
    "wrong_program": {**ENTRY, "attach": ["uprobe:at_exit:bench_push"]},
    "uncalled": {**ENTRY, "attach": ["uprobe:at_entry:bench_uncalled"]},
    "other_instruction": {**ENTRY, "first_instruction": "nop5"},
}


@pytest.fixture(scope="module")
def failed(built: Checkout, ground: Path) -> Checkout:
    """A checkout in which all that was measured at once. The patience with a hanging victim is cut from 20 s to 1."""
    checkout = copy(built, ground / "failed" / NAME)
    checkout.edit("bpfbench/drivers/pair.py", "\nSTALL = 20.0\n", "\nSTALL = 1.0\n")
    checkout.write_cases(**BAD_CASES)
    done = checkout.fail(code=1)
    checkout.assert_in_order()
    for case in BAD_CASES:
        assert re.search(rf"failed.*{case}", done.out)
    return checkout


@pytest.mark.parametrize(
    ("case", "arm", "reason"),
    [
        ("crashes", "native", "SIGSEGV"),
        ("crashes", "kernel", "SIGSEGV"),
        ("hangs", "native", "victim"),
        ("hangs", "kernel", "victim"),
        ("wrong_symbol", "kernel", "bench_pull"),
        ("wrong_program", "kernel", "at_exit"),
        ("uncalled", "kernel", "not proved: expected "),
        ("other_instruction", "native", "bench_push begins with push"),
        ("other_instruction", "kernel", "bench_push begins with push"),
    ],
)
def test_the_arm_is_failed_with_the_reason(failed: Checkout, case: str, arm: str, reason: str) -> None:
    cell = failed.cell(case, arm)
    assert cell["status"] == "failed"
    assert reason in cell["reason"]
    assert cell["metrics"] == {}


@pytest.mark.parametrize(
    ("case", "arm"),
    [("entry", "native"), ("entry", "kernel"), ("wrong_symbol", "native"), ("wrong_program", "native"), ("uncalled", "native")],
)
def test_the_others_are_measured(failed: Checkout, case: str, arm: str) -> None:
    cell = failed.cell(case, arm)
    assert cell["status"] == "ok"
    assert cell["metrics"]["time"]["n"] == 7


def test_the_result_and_the_report_say_so(failed: Checkout) -> None:
    result = failed.result()
    assert result["status"] == "failed"
    assert {(row["case"]) for row in result["comparisons"]} == {"entry"}
    for name in ("report.md", "report.html"):
        assert "failed" in failed.shown(name).read_text()
    shown = failed.doit("results").out
    assert "failed" in shown
    assert "SIGSEGV" in shown


def test_what_failed_is_measured_again_and_is_good_once_the_spec_is_mended(failed: Checkout, another: Another) -> None:
    assert not failed.items("measure-tiny")
    checkout = another(failed)
    before = checkout.result()["timing"]["started"]
    checkout.write_cases(wrong_symbol=BAD_CASES["wrong_symbol"])
    again = checkout.fail(code=1)
    assert "run_tiny" in again.executed
    assert checkout.result()["timing"]["started"] > before
    once_more = checkout.fail(code=1)
    assert "run_tiny" in once_more.executed
    checkout.write_cases(wrong_symbol=ENTRY)
    checkout.succeed()
    assert set(checkout.statuses().values()) == {"ok"}
    assert checkout.result()["status"] == "ok"
    assert len(checkout.items("measure-tiny")) == 1
    assert checkout.succeed().executed == []


def test_a_failed_measurement_is_failed_also_when_only_the_run_is_asked_for(failed: Checkout, another: Another) -> None:
    checkout = another(failed)
    checkout.write_cases(wrong_symbol=BAD_CASES["wrong_symbol"])
    done = checkout.fail("run_tiny", code=1)
    assert re.search(r"failed.*wrong_symbol", done.out)


def test_what_failed_is_kept_for_a_look(failed: Checkout) -> None:
    assert (failed.state / "failed" / "tiny" / "journal.jsonl").stat().st_size > 0


def test_a_probe_on_another_copy_of_the_victim_is_noticed(built: Checkout, another: Another) -> None:
    checkout = another(built)
    right, wrong = '"--target", str(self.victim_file)', '"--target", str(shutil.copy(self.victim_file, self.work / "other"))'
    checkout.edit("bpfbench/drivers/pair.py", right, wrong)
    checkout.fail(code=1)
    assert checkout.statuses() == {"entry native": "ok", "entry kernel": "failed"}
    assert "observed 0" in checkout.cell("entry", "kernel")["reason"]
    checkout.edit("bpfbench/drivers/pair.py", wrong, right)
    checkout.succeed()


def test_a_probe_that_leaks_into_the_bare_arm_is_noticed(built: Checkout, another: Another) -> None:
    """Somebody's loader is attached to the copy of the victim that belongs to the bare arm."""
    checkout = another(built)
    running = checkout.start()
    copies: list[Path] = []
    running.until(lambda: copies or copies.extend(checkout.state.glob("work/*/arm-native/victim")), pause=0.001)
    tree = checkout.items("uprobe")[0].tree
    command = [tree / "loader", "--object", tree / "program.bpf.o", "--target", copies[0], "--attach", ENTRY["attach"][0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as loader:
        try:
            assert running.wait().code == 1
        finally:
            loader.kill()
    checkout.assert_in_order()
    assert checkout.statuses() == {"entry native": "failed", "entry kernel": "ok"}
    assert "untouched-text" in checkout.cell("entry", "native")["reason"]


def test_a_program_that_counts_wrongly_is_not_believed(built: Checkout, another: Another) -> None:
    checkout = another(built)
    checkout.edit("workloads/uprobe/program.bpf.c", "ADD(count_at_entry.hits, 1)", "ADD(count_at_entry.hits, 2)")
    checkout.fail(code=1)
    assert checkout.statuses() == {"entry native": "ok", "entry kernel": "failed"}
    assert "not proved: expected" in checkout.cell("entry", "kernel")["reason"]
    checkout.edit("workloads/uprobe/program.bpf.c", "ADD(count_at_entry.hits, 2)", "ADD(count_at_entry.hits, 1)")
    checkout.succeed()
    assert set(checkout.statuses().values()) == {"ok"}


def child_called(running: Running, name: str) -> int | None:
    """Return the process id of the loader or victim of a run under way."""
    mark = running.checkout.mark.encode()
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and (path / "comm").read_text().strip() == name and mark in (path / "environ").read_bytes():
                return int(path.name)
        except OSError:
            continue
    return None


@pytest.mark.parametrize("name", ["loader", "victim"])
def test_a_killed_program_fails_its_arm_only(built: Checkout, another: Another, name: str) -> None:
    checkout = another(built)
    checkout.edit("specs/profiles.yaml", "sample_time: 2ms", "sample_time: 200ms")
    running = checkout.start()
    running.until(lambda: checkout.blocks() >= 2)
    found: list[int] = []
    running.until(lambda: found or found.extend(filter(None, [child_called(running, name)])), pause=0.001)
    kill(found[0], signal.SIGKILL)
    done = running.wait()
    assert done.code == 1, done.said
    assert "Traceback" not in done.said
    checkout.assert_in_order()
    (bad,) = [cell for cell in checkout.result()["cells"] if cell["status"] == "failed"]
    assert "SIGKILL" in bad["reason"]
    assert sum(cell["status"] == "ok" for cell in checkout.result()["cells"]) == 1
    checkout.edit("specs/profiles.yaml", "sample_time: 200ms", "sample_time: 2ms")
    checkout.succeed()


def test_what_a_killed_run_left_is_removed_and_nothing_else(complete: Checkout, another: Another) -> None:
    checkout = another(complete)
    with leave_behind(checkout) as (stale, foreign):
        checkout.succeed()
        assert stale.process.wait(10) == -signal.SIGKILL
        assert not any(path.exists() for path in stale.files)
        assert foreign.process.poll() is None
        assert all(path.exists() for path in foreign.files)
