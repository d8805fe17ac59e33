from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from bpfbench import system
from bpfbench.errors import BenchError
from bpfbench.model.types import Requirement

ROOT = Path(__file__).resolve().parents[1]


def command(name: str, *packages: str, **others: tuple[str, ...]) -> Requirement:
    return Requirement(name=name, why=f"does {name}", packages={"debian": packages, **others}, command=name)


class Machine:
    """A machine made of a directory: what is on its PATH, its os-release, its apt-get."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = root / "bin"
        self.calls = root / "calls"
        self.lists = root / "lists"
        self.os_release = root / "os-release"
        self.bin.mkdir()
        (self.lists / "partial").mkdir(parents=True)
        self._set = monkeypatch.setattr
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("TMPDIR", str(root))
        monkeypatch.setattr(system, "OS_RELEASE", self.os_release)
        monkeypatch.setattr(system, "APT_LISTS", self.lists)
        monkeypatch.setattr(system, "_become_root", lambda: None)
        monkeypatch.setattr("tempfile.tempdir", str(root))
        self.runs("debian")
        self.user(root=True)
        self.apt("exit 0")

    def runs(self, distribution: str) -> None:
        self.os_release.write_text(f'PRETTY_NAME="whatever"\nID={distribution}\n')

    def user(self, *, root: bool) -> None:
        self._set(system, "_is_root", lambda: root)

    def has_lists(self, age: float = 0.0) -> None:
        (self.lists / "somewhere_Packages.lz4").touch()
        for directory in (self.lists, self.lists / "partial"):
            then = directory.stat().st_mtime - age
            os.utime(directory, (then, then))

    def apt(self, script: str) -> None:
        self.add(
            "apt-get",
            f'echo "$*" >> "{self.calls}"\n'
            f"for word; do case $word in update|install) verb=$word;; esac; done\n{script}",
        )

    def add(self, name: str, script: str = "exit 0") -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def adding(self, name: str) -> str:
        return f'printf "#!/bin/sh\\n" > "{self.bin / name}" && /bin/chmod 755 "{self.bin / name}"'

    def verbs(self) -> list[str]:
        if not self.calls.exists():
            return []
        return re.findall(r"\b(?:update|install .*)$", self.calls.read_text(), re.MULTILINE)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ID=debian\n", "debian"),
        ("ID=ubuntu\nID_LIKE=debian\n", "debian"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "fedora"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "suse"),
        ("VERSION_ID=3\nID=alpine\n", "alpine"),
        ("ID=manjaro\nID_LIKE=arch\n", "arch"),
        ("VARIANT_ID=debian\nID=nixos\n", ""),
    ],
)
def test_family_is_read_from_os_release(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "os-release").write_text(text)
    assert system.family(tmp_path / "os-release") == expected


def test_family_without_os_release_is_unknown(tmp_path: Path) -> None:
    assert system.family(tmp_path / "none") == ""


def test_missing_keeps_only_what_is_not_there_in_order(machine: Machine, tmp_path: Path) -> None:
    machine.add("there")
    present, absent, other = command("there", "a"), command("absent", "b"), command("another", "c")
    file = Requirement("file", "", {}, file=str(tmp_path / "os-release"))
    no_file = Requirement("no-file", "", {}, file=str(tmp_path / "nothing"))
    assert system.missing([absent, present, file, no_file, other]) == [absent, no_file, other]


def test_a_header_is_found_where_the_compiler_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(shutil.which(compiler) for compiler in ("cc", "gcc", "clang")):
        pytest.skip("no C compiler on this machine")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "only_here.h").touch()
    header = Requirement("h", "", {}, header="ours/only_here.h")
    system._include_directories.cache_clear()
    assert system.missing([header]) == [header]
    monkeypatch.setenv("C_INCLUDE_PATH", str(tmp_path))
    system._include_directories.cache_clear()
    try:
        assert system.missing([header]) == []
    finally:
        system._include_directories.cache_clear()


def test_nothing_missing_runs_nothing(machine: Machine) -> None:
    machine.add("there")
    said: list[str] = []
    system.install([command("there", "a")], said.append)
    assert machine.verbs() == []
    assert said == []


def test_without_root_one_command_to_type(machine: Machine) -> None:
    machine.user(root=False)
    with pytest.raises(BenchError) as caught:
        system.install([command("cc1", "gcc", "libc6-dev"), command("ld1", "gcc", "binutils")], print)
    assert caught.value.hint == "sudo apt-get install -y --no-install-recommends gcc libc6-dev binutils"
    assert "command cc1" in caught.value.message
    assert "does ld1" in caught.value.message
    assert machine.verbs() == []


def test_on_another_family_its_own_packages_are_named(machine: Machine) -> None:
    machine.runs("fedora")
    with pytest.raises(BenchError) as caught:
        system.install([command("cc1", "gcc", fedora=("gcc", "glibc-devel"))], print)
    assert caught.value.hint == "dnf install -y gcc glibc-devel"  # this user is root
    assert machine.verbs() == []


@pytest.mark.parametrize("distribution", ["fedora", "plan9"])
def test_packages_that_are_not_known_are_described(machine: Machine, distribution: str) -> None:
    machine.runs(distribution)
    with pytest.raises(BenchError) as caught:
        system.install([command("cc1", "gcc")], print)
    assert caught.value.hint is not None
    assert "command cc1" in caught.value.hint
    assert "on Debian: gcc" in caught.value.hint
    assert machine.verbs() == []


def test_root_installs_only_what_is_missing(machine: Machine) -> None:
    machine.has_lists()
    machine.add("there")
    machine.apt(machine.adding("wanted"))
    said: list[str] = []
    system.install([command("there", "a"), command("wanted", "b", "c")], said.append)
    assert machine.verbs() == ["install -y --no-install-recommends b c"]
    assert len(said) == 1
    assert "b c" in said[0]


@pytest.mark.parametrize("lists", [None, 3 * 24 * 3600.0])
def test_package_lists_that_are_missing_or_old_are_fetched_first(
    machine: Machine, lists: float | None
) -> None:
    if lists is not None:
        machine.has_lists(age=lists)
    machine.apt(f"test $verb = update || {{ {machine.adding('wanted')}; }}")
    system.install([command("wanted", "b")], lambda _: None)
    assert machine.verbs() == ["update", "install -y --no-install-recommends b"]


def test_a_failure_with_old_names_is_tried_again_with_fresh_lists(machine: Machine, tmp_path: Path) -> None:
    machine.has_lists()
    fresh = tmp_path / "fresh"
    machine.apt(
        f'if test $verb = update; then : > "{fresh}"; '
        f'elif test -e "{fresh}"; then {machine.adding("wanted")}; '
        'else echo "E: Unable to locate package b"; exit 100; fi'
    )
    system.install([command("wanted", "b")], lambda _: None)
    install = "install -y --no-install-recommends b"
    assert machine.verbs() == [install, "update", install]


def test_when_apt_fails_its_words_and_the_log_are_told(machine: Machine) -> None:
    machine.has_lists()
    machine.apt('echo "Reading…"; echo "E: no space left"; exit 100')
    with pytest.raises(BenchError, match="E: no space left") as caught:
        system.install([command("wanted", "b")], lambda _: None)
    log = re.search(r"\S+\.log", caught.value.hint or "")
    assert log is not None
    assert "Reading…" in Path(log[0]).read_text()


def test_a_package_that_does_not_bring_what_it_should_is_an_error(machine: Machine) -> None:
    machine.has_lists()
    with pytest.raises(BenchError, match="still missing: wanted"):
        system.install([command("wanted", "b")], lambda _: None)


def test_waits_for_whoever_holds_the_lock_on_the_lists(machine: Machine, tmp_path: Path) -> None:
    second = tmp_path / "second"
    machine.apt(
        f"if test $verb = install; then {machine.adding('wanted')}; "
        f'elif test ! -e "{second}"; then : > "{second}"; '
        'echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt)"; exit 100; fi'
    )
    system.install([command("wanted", "b")], lambda _: None)
    assert machine.verbs() == ["update", "update", "install -y --no-install-recommends b"]


def test_gives_up_on_a_lock_that_is_never_released(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.has_lists()
    monkeypatch.setattr(system, "LOCK_WAIT", 0.0)
    machine.apt('echo "E: Could not get lock /var/lib/dpkg/lock-frontend"; exit 100')
    with pytest.raises(BenchError, match="Could not get lock"):
        system.install([command("wanted", "b")], lambda _: None)


def test_apt_never_asks(machine: Machine, tmp_path: Path) -> None:
    machine.has_lists()
    seen = tmp_path / "seen"
    machine.apt(
        f'echo "$DEBIAN_FRONTEND" > "{seen}"; read answer || echo end >> "{seen}"; {machine.adding("wanted")}'
    )
    system.install([command("wanted", "b")], lambda _: None)
    assert seen.read_text().split() == ["noninteractive", "end"]


def test_root_is_regained_after_files_are_made_as_somebody_else(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else and come back")
    out = tmp_path / "out"
    script = f"id -u > {out}; id -g >> {out}"
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.setegid(65534)
            os.seteuid(65534)
            known = system._is_root()
            system._run_to_end(["/bin/sh", "-c", script], {"PATH": "/usr/bin:/bin"}, 2)
            status = 0 if known and os.geteuid() == 65534 else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert out.read_text().split() == ["0", "0"]


def test_every_requirement_can_be_seen_and_be_had_on_debian() -> None:
    requirements = yaml.safe_load((ROOT / "specs" / "system.yaml").read_text())["requirements"]
    assert {"clang", "gcc", "libbpf", "libelf", "zlib"} <= set(requirements)
    for name, spec in requirements.items():
        assert len({"command", "header", "file"} & set(spec)) == 1, name
        assert spec["packages"]["debian"], name
