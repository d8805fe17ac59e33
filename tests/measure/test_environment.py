from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfbench.measure.environment import os_release, snapshot
from bpfbench.measure.fingerprint import fingerprint
from bpfbench.measure.machine import hardware, limits, programs
from bpfbench.measure.machine.sysroot import Sysroot, Unreadable
from bpfbench.measure.noise import Meter

MachineMaker = Callable[[str], Sysroot]
ALL = ("intel-laptop", "arm-server", "container", "wsl", "cloud-vm", "isolated")


def nulls(value: Any, path: str = "") -> set[str]:
    if isinstance(value, Mapping):
        return {
            found for key, each in value.items() for found in nulls(each, f"{path}.{key}" if path else key)
        }
    return {path} if value is None else set()


def explained(path: str, missing: Mapping[str, str]) -> bool:
    return any(path == name or path.startswith(name + ".") for name in missing)


@pytest.mark.parametrize("name", ALL)
def test_every_null_has_a_reason_and_every_reason_a_null(machine: MachineMaker, name: str) -> None:
    record: dict[str, Any] = snapshot(root=machine(name), tools={"absent": "/nonexistent/tool"})
    missing = record["missing"]
    unexplained = {path for path in nulls(record) if not explained(path, missing)}
    # these say "the kernel's file has no such field", inside a list or from a process's own status
    assert unexplained <= {"security.uid"}
    for path, reason in missing.items():
        assert reason
        assert any(null == path or null.startswith(path + ".") for null in nulls(record)), path


@pytest.mark.parametrize("name", ALL)
def test_it_is_json_in_a_stable_order(machine: MachineMaker, name: str) -> None:
    root = machine(name)
    first = json.dumps(snapshot(root=root), allow_nan=False)
    assert first == json.dumps(snapshot(root=root), allow_nan=False)
    assert [*json.loads(first)] == [*snapshot(root=Sysroot(Path("/nonexistent")))], (
        "the same keys on every machine"
    )


def test_a_laptop(machine: MachineMaker) -> None:
    record: dict[str, Any] = snapshot(root=machine("intel-laptop"))
    assert record["frequency"]["turbo"] is True
    assert record["frequency"]["governors"] == {"performance": 1, "powersave": 7}
    assert (record["frequency"]["least_mhz"], record["frequency"]["most_mhz"]) == (400, 4800)
    assert record["frequency"]["smt"] == "on"
    assert (record["cpu"]["online"], record["cpu"]["cores"], record["cpu"]["threads_per_core"]) == (8, 4, 2)
    assert {"pku", "ospke", "avx512f", "ibt"} <= set(record["cpu"]["flags"])
    assert record["cpu"]["caches"][2] == {"level": 2, "type": "Unified", "size": "1280K", "shared_by": "0,4"}
    assert record["memory"]["huge_pages"] == "always"
    assert record["memory"]["swap_total_kib"] == 999420
    assert record["security"]["lockdown"] == "integrity"
    assert record["security"]["ptrace_scope"] == 1
    assert record["security"]["capabilities"] == []
    assert record["limits"]["cpu_quota"] == "unlimited"
    assert record["os"] == {"name": "Debian GNU/Linux 12 (bookworm)", "id": "debian", "version": "12"}
    assert record["load"] == {"one": 0.52, "five": 0.58, "fifteen": 0.59, "runnable": "1/823"}
    assert record["virtualisation"] == {"machine": "none", "container": "none"}
    assert record["kernel"]["compiler"].startswith("gcc-12 (Debian 12.2.0-14) 12.2.0")


def test_an_arm_server(machine: MachineMaker) -> None:
    record: dict[str, Any] = snapshot(root=machine("arm-server"))
    assert record["cpu"]["architecture"] == "aarch64"
    assert record["cpu"]["models"][0]["name"] == "ARM Neoverse-N1"
    assert record["cpu"]["models"][0]["stepping"] == "r3p1"
    assert record["cpu"]["models"][0]["microcode"] is None
    assert record["cpu"]["online"] == record["cpu"]["cores"] == 32
    assert record["memory"]["page_size"] == 65536
    assert record["frequency"]["turbo"] is False
    assert "atomics" in record["cpu"]["flags"]


def test_a_container_without_sys(machine: MachineMaker) -> None:
    record: dict[str, Any] = snapshot(root=machine("container"))
    assert record["mitigations"] is None
    assert "not there" in record["missing"]["mitigations"]
    assert record["cpu"]["online"] == 4
    assert record["cpu"]["cores"] is None
    assert record["limits"]["cpus_allowed"] == "1-2"
    assert record["limits"]["cpu_quota"] is None
    assert record["security"]["seccomp"] is True
    assert record["security"]["user_namespace"] is True


def test_limits_of_both_cgroup_versions(machine: MachineMaker) -> None:
    old = machine("cloud-vm")
    assert limits.cpu_quota(old) == 1.5, "a tighter limit above binds"
    assert limits.memory_limit(old) == 4 << 30
    new = machine("isolated")
    assert limits.cpu_quota(new) == 2.0
    assert limits.memory_limit(new) == "unlimited"


def test_limits_inside_a_container_whose_tree_begins_at_its_own_group(machine: MachineMaker) -> None:
    root = machine("isolated")
    Path(root.real("/proc/self/cgroup")).write_text("0::/pod/abc/inner\n")
    Path(root.real("/proc/self/mountinfo")).write_text(
        "31 23 0:27 /pod/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    )
    inner = Path(root.real("/sys/fs/cgroup/inner"))
    inner.mkdir()
    (inner / "cpu.max").write_text("50000 100000\n")
    assert limits.cpu_quota(root) == 0.5


def test_isolated_cpus(machine: MachineMaker) -> None:
    record: dict[str, Any] = snapshot(root=machine("isolated"))
    assert (record["cpu"]["isolated"], record["cpu"]["nohz_full"]) == ("2-3", "2-3")
    assert record["frequency"]["smt"] == "forceoff"
    laptop: dict[str, Any] = snapshot(root=machine("intel-laptop"))
    assert laptop["cpu"]["isolated"] == "", "an empty list is an answer, not a missing one"


def test_nothing_secret_is_in_it(machine: MachineMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "xyzzy-secret")
    for root in (machine("cloud-vm"), Sysroot()):
        text = json.dumps(snapshot(root=root))
        assert "hunter2" not in text
        assert "xyzzy-secret" not in text
        assert "builder@buildhost" not in text
    line = str(snapshot(root=machine("cloud-vm"))["kernel"])
    assert "mitigations=off" in line
    assert "'init_words_left_out': 2" in line


def test_this_machine_against_independent_evidence() -> None:
    record: dict[str, Any] = snapshot()
    assert record["kernel"]["release"] == os.uname().release
    assert record["cpu"]["online"] == os.cpu_count()
    assert record["memory"]["page_size"] == os.sysconf("SC_PAGESIZE")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") // 1024
    assert record["memory"]["total_kib"] == pytest.approx(total, rel=0.01)
    allowed = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    assert limits.affinity(Sysroot()) == record["limits"]["cpus_allowed"]
    assert ",".join(map(str, _expand(record["limits"]["cpus_allowed"]))) == allowed
    assert record["software"]["libc"] == " ".join(platform.libc_ver())
    assert record["software"]["python"].endswith(platform.python_version())
    assert record["software"]["packages"]["pytest"] == pytest.__version__
    assert record["security"]["uid"] == os.geteuid()


def _expand(text: str) -> tuple[int, ...]:
    from bpfbench.measure.machine.sysroot import cpu_list

    return cpu_list(text)


def script(directory: Path, body: str) -> Path:
    file = directory / "tool"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def test_tools_tell_their_version_in_their_own_way(tmp_path: Path) -> None:
    tool = script(
        tmp_path, 'if [ "$1" = -v ]; then echo "nginx version: nginx/1.22.1" >&2; else echo usage; fi'
    )
    found: dict[str, Any] = snapshot(
        root=Sysroot(tmp_path),
        tools={"python": sys.executable, "nginx": [tool, "-v"], "mute": tool, "absent": tmp_path / "absent"},
    )
    assert found["software"]["tools"] == {
        "absent": None,
        "mute": None,
        "nginx": "nginx version: nginx/1.22.1",
        "python": f"Python {platform.python_version()}",
    }
    assert found["missing"]["software.tools.absent"] == "absent: No such file or directory"
    assert found["missing"]["software.tools.mute"] == "tool printed no version"


def test_a_tool_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    tool = script(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(Unreadable, match="did not answer within"):
        programs.version([tool, "--version"], deadline=1.0)
    state = Path(f"/proc/{int((tmp_path / 'pid').read_text())}/stat")
    # The kill was sent before that error was raised. When it takes effect on a child of somebody else's is up to the scheduler.
    for _ in range(1000):
        if ended(state):
            return
        time.sleep(0.01)
    raise AssertionError(state.read_text())


def ended(state: Path) -> bool:
    """Whether a process is gone, or waits for nothing but that somebody asks how it ended."""
    try:
        return state.read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True


def test_a_tool_sees_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_MARK", "1")
    seen = programs.output([script(tmp_path, "env")])
    assert "LD_PRELOAD_MARK" not in seen
    assert "PATH=" in seen


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    (tmp_path / ".gitignore").write_text("ignored\n")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    return tmp_path


def test_the_state_of_a_checkout(repository: Path) -> None:
    clean: dict[str, Any] = snapshot(checkout=repository, root=Sysroot(repository))
    head = subprocess.run(
        ["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    expected = {"commit": head.stdout.strip(), "dirty": False, "changed_files": 0, "untracked_files": 0}
    assert clean["checkout"] == expected
    (repository / "ignored").write_text("x")
    (repository / "file").write_text("two")
    (repository / "new one").write_text("x")
    assert programs.checkout(repository) == expected | {
        "dirty": True,
        "changed_files": 1,
        "untracked_files": 1,
    }


def test_no_checkout(tmp_path: Path) -> None:
    record: dict[str, Any] = snapshot(checkout=tmp_path, root=Sysroot(tmp_path))
    assert record["checkout"]["commit"] is None
    assert "git" in record["missing"]["checkout"]


@given(st.text())
def test_parsers_take_anything(text: str) -> None:
    assert all(size >= 0 for size in hardware.meminfo(text).values())
    os_release(text)
    try:
        assert f"[{hardware.chosen(text)}]" in text
    except Unreadable as reason:
        assert str(reason)


PATHS = (
    "/proc/self/cgroup", "/proc/self/mountinfo", "/proc/self/status", "/proc/self/limits", "/proc/meminfo",
    "/proc/loadavg", "/proc/version", "/proc/cpuinfo", "/proc/cmdline", "/etc/os-release",
    "/sys/devices/system/cpu/online", "/sys/kernel/mm/transparent_hugepage/enabled",
    "/proc/sys/kernel/tainted",
)  # fmt: skip


TOKENS = st.sampled_from(
    ["0::/", "4:cpu:/a/b", "cgroup2", "cgroup", " - ", "/", "/sys/fs/cgroup", "cpu", "kB", "MemTotal:",
     "Uid:", "CapEff:", "-1", "1e999 nan 1.5 1/2 3", "0-3", "Max open files", "[", "]", "[x]",
     "processor", "\t: ", "CPU implementer", "0x", "flags", " ", "\n", "\0", "é", "="]
)  # fmt: skip
CONTENT = st.binary() | st.lists(TOKENS).map(lambda words: "".join(words).encode())


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(PATHS), CONTENT, max_size=5))
def test_arbitrary_files_never_stop_the_record(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = Sysroot(tmp_path_factory.mktemp("root"))
    for name, content in files.items():
        file = Path(root.real(name))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    json.dumps(snapshot(root=root), allow_nan=False)


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "٣", "1e999", "1_0", ""])
@pytest.mark.parametrize("name", ["intel-laptop", "cloud-vm"])
def test_numbers_that_are_none_stop_nothing(machine: MachineMaker, name: str, number: str) -> None:
    root = machine(name)
    for file in root.path.rglob("*"):
        if file.is_file():
            file.write_text(re.sub(r"\d+", number, file.read_text()))
    json.dumps(snapshot(root=root), allow_nan=False)
    assert fingerprint(root).digest
    with Meter(root) as meter:
        meter.start()
        json.dumps(meter.stop().as_json(), allow_nan=False)


def test_os_release_quotes() -> None:
    assert os_release('A=\'x y\'\nB="q"\n#C=1\nD\nE="broken\n') == {"A": "x y", "B": "q"}
