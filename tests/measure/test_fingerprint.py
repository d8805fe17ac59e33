from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.measure.fingerprint import canonical, fingerprint, slug
from bpfbench.measure.machine import cmdline, cpu
from bpfbench.measure.machine.sysroot import Sysroot, Unreadable, cpu_list

MachineMaker = Callable[[str], Sysroot]
ALL = ("intel-laptop", "arm-server", "container", "wsl", "cloud-vm", "isolated")


def rewrite(root: Sysroot, name: str, change: Callable[[str], str]) -> None:
    file = Path(root.real(name))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(change(file.read_text() if file.exists() else ""))


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("intel-laptop", "11th-gen-intel-core-i7-1185g7-4c8t-"),
        ("arm-server", "arm-neoverse-n1-32c-"),
        ("container", "intel-xeon-e5-2697-v2-4c-"),
        ("wsl", "amd-ryzen-7-pro-4750u-2c4t-"),
        ("cloud-vm", "amd-epyc-7b13-2c4t-"),
        ("isolated", "intel-core-i5-6500-4c-"),
    ],
)
def test_a_machine_gets_a_name_for_people(machine: MachineMaker, name: str, begins: str) -> None:
    found = fingerprint(machine(name))
    assert found.name == begins + found.digest[:8]


def test_different_machines_differ_and_the_same_machine_does_not(machine: MachineMaker) -> None:
    digests = [fingerprint(machine(name)).digest for name in ALL]
    assert len(set(digests)) == len(ALL)
    assert digests == [fingerprint(machine(name)).digest for name in ALL]


@pytest.mark.parametrize(
    ("name", "vm", "container"),
    [
        ("intel-laptop", "none", "none"),
        ("arm-server", "none", "none"),
        ("container", "unknown", "docker"),
        ("wsl", "wsl", "none"),
        ("cloud-vm", "kvm", "none"),
        ("isolated", "none", "none"),  # a metal instance: the firmware names the cloud, the CPU no hypervisor
    ],
)
def test_virtualisation(machine: MachineMaker, name: str, vm: str, container: str) -> None:
    components = fingerprint(machine(name)).components
    assert (components["vm"], components["container"]) == (vm, container)


CHANGES: dict[str, tuple[str, Callable[[str], str]]] = {
    "microcode": ("/proc/cpuinfo", lambda text: text.replace("0xb4", "0xb6")),
    "kernel release": ("/proc/sys/kernel/osrelease", lambda text: "6.1.0-19-amd64\n"),
    "kernel build": ("/proc/sys/kernel/version", lambda text: text.replace("2024-02-01", "2024-03-01")),
    "a mitigation": ("/sys/devices/system/cpu/vulnerabilities/spectre_v2", lambda text: "Vulnerable\n"),
    "a new vulnerability": ("/sys/devices/system/cpu/vulnerabilities/new", lambda text: "Vulnerable\n"),
    "the command line": ("/proc/cmdline", lambda text: text.replace("mitigations=auto", "mitigations=off")),
    "CPUs taken offline": ("/sys/devices/system/cpu/online", lambda text: "0-3\n"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_a_measurement_changes_the_fingerprint(machine: MachineMaker, what: str) -> None:
    root = machine("intel-laptop")
    before = fingerprint(root)
    rewrite(root, *CHANGES[what])
    assert fingerprint(root).digest != before.digest


UNCHANGING: dict[str, tuple[str, Callable[[str], str]]] = {
    "the clock rate of the moment": ("/proc/cpuinfo", lambda text: text.replace("2400.000", "3100.123")),
    "memory": ("/proc/meminfo", lambda text: text.replace("32509820", "16254910")),
    "load": ("/proc/loadavg", lambda text: "9.99 9.99 9.99 9/999 9\n"),
    "host name": ("/proc/sys/kernel/hostname", lambda text: "other\n"),
    "boot id": ("/proc/sys/kernel/random/boot_id", lambda text: "0b4f2a52-0000-4c55-8f0d-6c2f6a1f7b11\n"),
    "governor": ("/sys/devices/system/cpu/cpufreq/policy3/scaling_governor", lambda text: "performance\n"),
    "the disk that was booted": (
        "/proc/cmdline",
        lambda text: text.replace("0b4f2a52-9a3e", "11111111-2222").replace(
            "/vmlinuz-6.1.0-18", "/boot/vmlinuz-6.1.0-18"
        ),
    ),
    "the order of parameters": ("/proc/cmdline", lambda text: " ".join(reversed(text.split()))),
}


@pytest.mark.parametrize("what", UNCHANGING)
def test_what_changes_by_itself_does_not(machine: MachineMaker, what: str) -> None:
    root = machine("intel-laptop")
    before = fingerprint(root)
    rewrite(root, *UNCHANGING[what])
    assert fingerprint(root).digest == before.digest


def test_the_digest_is_of_the_components_and_they_survive_json(machine: MachineMaker) -> None:
    import hashlib

    for name in ALL:
        found = fingerprint(machine(name))
        again = json.loads(json.dumps(dict(found.components)))
        assert hashlib.sha256(canonical(again).encode()).hexdigest() == found.digest
        assert "." not in re.sub(r'"[^"]*"', "", canonical(again)), "a float would not be stable in a key"


def test_an_empty_root_gives_nulls_not_guesses(tmp_path: Path) -> None:
    found = fingerprint(Sysroot(tmp_path))
    assert found.name == f"unknown-cpu-{found.digest[:8]}"
    assert found.components["cpus"] is None
    assert found.components["mitigations"] is None
    assert found.components["vm"] is None


def test_command_line_keeps_what_matters_and_hides_secrets(machine: MachineMaker) -> None:
    line = cmdline.parse(machine("cloud-vm").text("/proc/cmdline"))
    assert {"mitigations=off", "nopku", "console=ttyS0"} <= set(line.stable)
    everything = f"{line.text} {' '.join(line.stable)}"
    assert "hunter2" not in everything
    assert line.init_words == 2
    assert not any(word.startswith(("BOOT_IMAGE", "root=", "ds=")) for word in line.stable)
    assert "random.seed=<id>" in line.stable
    assert "mac=<id>" in line.stable


def test_command_line_quotes_and_order() -> None:
    line = cmdline.parse('dyndbg="file a.c +p" quiet loglevel=3 loglevel=7\n')
    assert line.parameters == ('dyndbg="file a.c +p"', "quiet", "loglevel=3", "loglevel=7")
    assert line.stable.index("loglevel=3") < line.stable.index("loglevel=7"), "the last of equal names wins"
    assert cmdline.parse("isolcpus=2-3").stable == ("isolcpus=2-3",)


@given(st.text())
def test_command_line_takes_anything(text: str) -> None:
    line = cmdline.parse(text)
    assert set(map(len, line.parameters)) == set() or min(map(len, line.parameters)) > 0
    assert len(line.stable) <= len(line.parameters)


@given(st.text())
def test_cpuinfo_takes_anything(text: str) -> None:
    for model in cpu.models(text):
        assert model.name


@given(st.text())
def test_a_slug_is_a_safe_file_name(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", slug(text))


@given(st.sets(st.integers(0, 2000), max_size=50))
def test_cpu_lists_are_read_back(cpus: set[int]) -> None:
    text = ",".join(map(str, sorted(cpus)))
    assert cpu_list(text) == tuple(sorted(cpus))


@given(st.text(alphabet="0123456789-, +_ax\n", max_size=12))
def test_cpu_list_reads_or_refuses(text: str) -> None:
    try:
        assert all(number >= 0 for number in cpu_list(text))
    except Unreadable:
        assert text.strip()


def test_cpu_list_ranges() -> None:
    assert cpu_list("0-3,8,10-11\n") == (0, 1, 2, 3, 8, 10, 11)
    for wrong in ("3-1", "a", "1-", "-1", "0-99999999"):
        with pytest.raises(Unreadable):
            cpu_list(wrong)


@given(
    st.dictionaries(
        st.sampled_from(["/proc/cpuinfo", "/proc/cmdline", "/proc/stat", "/proc/1/cgroup"]), st.binary()
    )
)
def test_arbitrary_files_never_stop_the_fingerprint(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = Sysroot(tmp_path_factory.mktemp("root"))
    for name, content in files.items():
        file = Path(root.real(name))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert len(fingerprint(root).digest) == 64


def test_this_machine_agrees_with_lscpu() -> None:
    run = subprocess.run(
        ["lscpu", "-J"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    facts: dict[str, str] = {}

    def collect(entries: list[dict[str, object]]) -> None:
        for entry in entries:
            facts[str(entry["field"]).rstrip(":")] = str(entry.get("data"))
            collect(entry.get("children", []))  # type: ignore[arg-type]

    collect(json.loads(run.stdout)["lscpu"])
    components = json.loads(canonical(fingerprint().components))
    assert components["architecture"] == facts["Architecture"]
    assert str(components["topology"]["cpus"]) == facts["CPU(s)"]
    if "Socket(s)" in facts and facts["Socket(s)"].isdigit():
        assert str(components["topology"]["packages"]) == facts["Socket(s)"]
        assert components["topology"]["cores"] == int(facts["Core(s) per socket"]) * int(facts["Socket(s)"])
        assert str(components["topology"]["threads_per_core"]) == facts["Thread(s) per core"]
    if components["architecture"] == "x86_64":
        assert components["cpus"][0]["name"] == facts["Model name"]
        assert (components["vm"] != "none") == ("Hypervisor vendor" in facts)
    if facts.get("Hypervisor vendor") == "KVM":
        assert components["vm"] in ("kvm", "unknown")
    assert components["kernel"]["release"] == os.uname().release
    assert components["kernel"]["version"] == os.uname().version


HEAVY = {"numpy", "matplotlib", "git", "jsonschema", "rich", "yaml", "subprocess", "ctypes", "email"}


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, bpfbench.measure.fingerprint as module; module.fingerprint(); print(*sys.modules)"
    checkout = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=checkout
    )
    loaded = set(run.stdout.split())
    assert "bpfbench.measure.fingerprint" in loaded
    assert loaded & HEAVY == set()


def test_it_opens_few_files(monkeypatch: pytest.MonkeyPatch, machine: MachineMaker) -> None:
    """Time is not asserted; the number of files that are opened is what makes it cheap on 32 CPUs, too."""
    root = machine("arm-server")
    opened: list[str] = []
    genuine = os.open

    def counting(path: str, flags: int) -> int:
        opened.append(path)
        return genuine(path, flags)

    monkeypatch.setattr(os, "open", counting)
    fingerprint(root)
    assert 10 < len(opened) < 32 + 40
