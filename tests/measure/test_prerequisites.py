from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bpfbench.errors import BenchError
from bpfbench.measure import prerequisites
from bpfbench.measure.machine import checks
from bpfbench.measure.machine.kernel import SOCKET_FILTER, Kernel
from bpfbench.measure.machine.standing import BPF, PERFMON, SYS_ADMIN, SYS_PTRACE, standing
from bpfbench.measure.machine.sysroot import Sysroot
from bpfbench.measure.prerequisites import Prerequisite, check, check_all, main, names, table

MachineMaker = Callable[[str], Sysroot]
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Scripted(Kernel):
    """A kernel that answers as told: method name → errno to fail with, or a number to return."""

    errors: dict[str, int] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)

    def _answer(self, name: str) -> int:
        if name in self.errors:
            raise OSError(self.errors[name], os.strerror(self.errors[name]))
        return self.values.get(name, 0)

    def create_map(self) -> int:
        self._answer("create_map")
        return os.open("/dev/null", os.O_RDONLY)

    def load_program(self, kind: int = 2) -> int:
        self._answer("load_socket_filter" if kind == SOCKET_FILTER else "load_program")
        return os.open("/dev/null", os.O_RDONLY)

    def jited_length(self, program: int) -> int:
        return self._answer("jited_length")

    def fire_uprobe(self, pmu_type: int, calls: int) -> int:
        return self._answer("fire_uprobe")

    def allocate_pkey(self) -> int:
        return self._answer("allocate_pkey")

    def map_page_zero(self) -> None:
        self._answer("map_page_zero")

    def seize_child(self) -> None:
        self._answer("seize_child")

    def mount_detached(self, filesystem: str) -> int:
        self._answer("mount_detached")
        return os.open("/dev/null", os.O_RDONLY)

    def open_device(self, path: str) -> None:
        self._answer("open_device")


def refused(name: str, root: Sysroot, **errors: int) -> Prerequisite:
    found = check(name, root, Scripted(errors=errors))
    assert not found.ok
    return found


def test_every_name_has_a_check_and_a_title() -> None:
    assert set(names()) == set(checks.CHECKS) == set(prerequisites.TITLES)
    assert "user-memory-write" not in names()


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(BenchError) as caught:
        check("kernel-bfp")
    assert "'kernel-bfp'" in caught.value.message
    assert "kernel-bpf" in (caught.value.hint or "")
    with pytest.raises(BenchError) as caught:
        check_all(("x86-64", "zzz"))
    assert all(name in (caught.value.hint or "") for name in names())


@pytest.mark.parametrize("name", ["intel-laptop", "arm-server", "container", "wsl", "cloud-vm", "isolated"])
@pytest.mark.parametrize(
    "code", [errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOENT, errno.ENOMEM]
)
def test_any_errno_on_any_machine_gives_a_reason(machine: MachineMaker, name: str, code: int) -> None:
    methods = (
        "create_map load_program load_socket_filter jited_length fire_uprobe allocate_pkey map_page_zero "
        "seize_child mount_detached open_device"
    )
    kernel = Scripted(errors=dict.fromkeys(methods.split(), code))
    root = machine(name)
    for found in (check(each, root, kernel) for each in names()):
        assert len(found.reason) > 10, found
        assert json.loads(json.dumps(found.as_json())) == found.as_json()
        if found.name in ("kernel-bpf", "kernel-uprobes", "pku", "ptrace", "page-zero", "fuse"):
            assert not found.ok, found


def test_bpf_without_privilege(machine: MachineMaker) -> None:
    found = refused("kernel-bpf", machine("intel-laptop"), create_map=errno.EPERM)
    assert "needs root or CAP_BPF and CAP_PERFMON" in found.reason
    assert "sudo ./bench" in found.reason
    assert found.seen["errno"] == "EPERM"
    assert found.seen["uid"] == 1000


def test_bpf_as_root_of_a_rootless_container(machine: MachineMaker) -> None:
    found = refused("kernel-bpf", machine("container"), create_map=errno.EPERM)
    assert "needs root or CAP_BPF" in found.reason, "this container's root has no such capability"
    rich = machine("container")
    status = Path(rich.real("/proc/self/status"))
    status.write_text(status.read_text().replace("00000000a80425fb", "000001ffffffffff"))
    # an old kernel counts locked memory
    assert "ulimit -l" in refused("kernel-bpf", rich, create_map=errno.EPERM).reason
    Path(rich.real("/proc/sys/kernel/osrelease")).write_text("6.1.0\n")
    assert "user namespace" in refused("kernel-bpf", rich, create_map=errno.EPERM).reason
    Path(rich.real("/proc/self/uid_map")).write_text("0 0 4294967295\n")
    assert "seccomp" in refused("kernel-bpf", rich, create_map=errno.EPERM).reason


def test_bpf_under_lockdown_and_under_a_security_module(machine: MachineMaker) -> None:
    locked = refused("kernel-bpf", machine("cloud-vm"), load_program=errno.EPERM)
    assert "lockdown (confidentiality)" in locked.reason
    assert locked.seen["stage"] == "program"
    assert "SELinux" in refused("kernel-bpf", machine("isolated"), create_map=errno.EACCES).reason


def test_bpf_that_the_kernel_was_built_without(machine: MachineMaker) -> None:
    root = machine("isolated")
    assert "CONFIG_BPF_SYSCALL" in refused("kernel-bpf", root, create_map=errno.ENOSYS).reason
    assert "CONFIG_BPF_EVENTS" in refused("kernel-bpf", root, load_program=errno.EINVAL).reason
    both = refused("kernel-bpf", root, load_program=errno.EINVAL, load_socket_filter=errno.EINVAL)
    assert "EINVAL" in both.reason


def test_a_uprobe_that_opens_but_does_not_fire_is_no_uprobe(machine: MachineMaker) -> None:
    root = machine("intel-laptop")
    assert check("kernel-uprobes", root, Scripted(values={"fire_uprobe": checks.CALLS})).ok
    for count in (0, checks.CALLS - 1, checks.CALLS + 1):
        found = check("kernel-uprobes", root, Scripted(values={"fire_uprobe": count}))
        assert not found.ok
        assert found.seen["fired"] == count


def test_uprobes_that_are_not_there(machine: MachineMaker) -> None:
    found = refused("kernel-uprobes", machine("wsl"))
    assert "CONFIG_UPROBE_EVENTS" in found.reason
    assert (
        "CAP_PERFMON" in refused("kernel-uprobes", machine("intel-laptop"), fire_uprobe=errno.EACCES).reason
    )


def test_jit_is_believed_only_when_seen(machine: MachineMaker) -> None:
    root = machine("isolated")
    assert check("kernel-jit", root, Scripted(values={"jited_length": 20})).ok
    interpreted = check("kernel-jit", root, Scripted(values={"jited_length": 0}))
    assert not interpreted.ok
    assert "bpf_jit_enable=1" in interpreted.reason
    assert not refused("kernel-jit", root, load_program=errno.EPERM).seen["jited"]
    setting = Path(root.real("/proc/sys/net/core/bpf_jit_enable"))
    setting.parent.mkdir(parents=True)
    setting.write_text("0\n")
    assert "interpreted" in refused("kernel-jit", root, load_program=errno.EPERM).reason
    setting.write_text("1\n")
    assert check("kernel-jit", root, Scripted(errors={"load_program": errno.EPERM})).ok


def test_btf_needs_its_magic_number(machine: MachineMaker) -> None:
    root = machine("isolated")
    assert "CONFIG_DEBUG_INFO_BTF" in refused("kernel-btf", root).reason
    file = Path(root.real("/sys/kernel/btf/vmlinux"))
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x9f\xeb\x01\x00")
    assert check("kernel-btf", root, Scripted()).ok
    file.write_bytes(b"\x7fELF")
    assert "magic" in refused("kernel-btf", root).reason


def test_tracefs(machine: MachineMaker) -> None:
    root = machine("intel-laptop")
    mountable = check("tracefs", root, Scripted())
    assert mountable.ok
    assert mountable.seen["mounted"] is None
    assert "mount -t tracefs" in mountable.reason
    assert "CAP_SYS_ADMIN" in refused("tracefs", root, mount_detached=errno.EPERM).reason
    (Path(root.real("/sys/kernel/tracing")) / "events" / "syscalls").mkdir(parents=True)
    mounted = check("tracefs", root, Scripted(errors={"mount_detached": errno.EPERM}))
    assert mounted.ok
    assert mounted.seen["mounted"] == "/sys/kernel/tracing"
    Path(root.real("/proc/filesystems")).write_text("nodev\tsysfs\n")
    Path(root.real("/proc/self/mounts")).write_text("")
    assert "CONFIG_FTRACE" in refused("tracefs", root, mount_detached=errno.ENODEV).reason


def test_pku(machine: MachineMaker) -> None:
    assert check("pku", machine("intel-laptop"), Scripted(values={"allocate_pkey": 1})).ok
    assert "ENOSPC" in refused("pku", machine("isolated"), allocate_pkey=errno.ENOSPC).reason
    assert "nopku" in refused("pku", machine("cloud-vm")).reason
    assert "no protection keys" in refused("pku", machine("wsl")).reason
    assert "no protection keys" in refused("pku", machine("arm-server")).reason


def test_ptrace_scope_decides_for_others_than_children(machine: MachineMaker) -> None:
    root = machine("intel-laptop")
    assert "ptrace_scope is 1" in refused("ptrace", root).reason
    scope = Path(root.real("/proc/sys/kernel/yama/ptrace_scope"))
    scope.write_text("0\n")
    assert check("ptrace", root, Scripted()).ok
    scope.write_text("3\n")
    assert "until the next boot" in refused("ptrace", root).reason
    assert "EPERM" in refused("ptrace", machine("container"), seize_child=errno.EPERM).reason
    capable = machine("cloud-vm")
    yama = Path(capable.real("/proc/sys/kernel/yama/ptrace_scope"))
    yama.parent.mkdir(parents=True)
    yama.write_text("1\n")
    assert check("ptrace", capable, Scripted()).ok, "CAP_SYS_PTRACE is above scope 1"


def test_page_zero_fuse_and_architecture(machine: MachineMaker) -> None:
    page = refused("page-zero", machine("intel-laptop"), map_page_zero=errno.EPERM)
    assert "vm.mmap_min_addr=0" in page.reason
    assert page.seen["mmap_min_addr"] == "65536"
    assert "--device /dev/fuse" in refused("fuse", machine("container"), open_device=errno.ENOENT).reason
    assert refused("x86-64", machine("arm-server")).reason == "this machine is aarch64"
    assert check("x86-64", machine("wsl"), Scripted()).ok


def test_capabilities_are_read_from_the_mask(machine: MachineMaker) -> None:
    plain, root = standing(machine("intel-laptop")), standing(machine("arm-server"))
    assert not any(plain.has(bit) for bit in (BPF, PERFMON, SYS_ADMIN, SYS_PTRACE))
    assert all(root.has(bit) for bit in (BPF, PERFMON, SYS_ADMIN, SYS_PTRACE))
    assert (plain.uid, root.uid) == (1000, 0)


def test_half_of_the_capabilities_is_not_enough(machine: MachineMaker) -> None:
    root = machine("intel-laptop")
    status = Path(root.real("/proc/self/status"))
    status.write_text(status.read_text().replace("0000000000000000", f"{1 << BPF:016x}"))
    assert (
        "needs root or CAP_BPF and CAP_PERFMON"
        in refused("kernel-bpf", root, load_program=errno.EPERM).reason
    )
    status.write_text(status.read_text().replace(f"{1 << BPF:016x}", f"{1 << BPF | 1 << PERFMON:016x}"))
    assert "needs root" not in refused("kernel-bpf", root, load_program=errno.EPERM).reason


def test_an_empty_root_gives_reasons(tmp_path: Path) -> None:
    for name in names():
        assert check(name, Sysroot(tmp_path), Scripted(errors={"load_program": errno.ENOSYS})).reason


def test_an_architecture_without_numbers_is_said_to_be_one() -> None:
    other = Kernel(machine="riscv64")
    for call in (other.create_map, other.load_program, other.allocate_pkey, lambda: other.fire_uprobe(8, 1)):
        with pytest.raises(OSError, match="riscv64") as caught:
            call()
        assert caught.value.errno == errno.ENOSYS


def descriptors() -> list[str]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor of this very listing
            found.append(str(link.readlink()))
    return sorted(found)


def test_nothing_stays_behind() -> None:
    def traces() -> tuple[list[str], int, str]:
        scratch = Path("/proc/self/maps").read_text().count("uprobe-check")
        return descriptors(), scratch, Path("/proc/self/mounts").read_text()

    before = traces()
    check_all(names())
    assert traces() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.skipif(not check("pku").ok, reason="this machine has no protection keys")
def test_protection_keys_are_given_back() -> None:
    for _ in range(20):  # there are 15
        assert check("pku").ok


def test_verdicts_are_the_same_twice() -> None:
    assert check_all(names()) == check_all(names())


privileged = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root, to load BPF and to become somebody else"
)


@privileged
def test_this_machine_against_independent_evidence() -> None:
    found = {each.name: each for each in check_all(names())}
    programs = subprocess.run(["bpftool", "prog", "list"], capture_output=True, text=True, check=False)
    assert found["kernel-bpf"].ok == (programs.returncode == 0), found["kernel-bpf"]
    assert found["x86-64"].ok == (os.uname().machine == "x86_64")
    flags = Path("/proc/cpuinfo").read_text()
    assert found["pku"].ok <= (" pku " in flags and " ospke " in flags)
    assert found["kernel-btf"].ok == Path("/sys/kernel/btf/vmlinux").exists()
    jit = Path("/proc/sys/net/core/bpf_jit_enable")
    if jit.exists() and found["kernel-bpf"].ok:
        assert found["kernel-jit"].ok == (jit.read_text().strip() != "0")
    assert found["kernel-uprobes"].ok <= Path(checks.UPROBE_TYPE).exists()


@privileged
def test_perf_sees_the_probe_that_the_check_counts() -> None:
    """The count is the kernel's, not ours: with no call it is 0, with n calls n."""
    if not check("kernel-uprobes").ok:
        pytest.skip("this machine has no uprobes: " + check("kernel-uprobes").reason)
    pmu = Sysroot().number(checks.UPROBE_TYPE)
    assert [Kernel().fire_uprobe(pmu, calls) for calls in (0, 1, 17)] == [0, 1, 17]


def as_nobody(work: Callable[[], object]) -> str:
    """Run ``work`` in a child without privileges and return its JSON. Modules are loaded before, while we
    may read them."""
    import ctypes  # noqa: F401

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(writing, json.dumps(work()).encode())
        except BaseException as error:
            os.write(writing, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        text = stream.read().decode()
    os.waitpid(child, 0)
    return text


@privileged
def test_reasons_without_root() -> None:
    rows = json.loads(as_nobody(lambda: [each.as_json() for each in check_all(names())]))
    found = {row["name"]: row for row in rows}
    assert found["kernel-bpf"]["seen"]["uid"] == 65534
    assert found["kernel-bpf"]["seen"]["capabilities"] == []
    for name in ("kernel-bpf", "kernel-uprobes"):
        assert not found[name]["ok"]
        assert "run as root (sudo ./bench …)" in found[name]["reason"]
        assert found[name]["seen"]["errno"] in ("EPERM", "EACCES")
    if Path("/proc/sys/vm/mmap_min_addr").read_text().strip() != "0":
        assert "CAP_SYS_RAWIO" in found["page-zero"]["reason"]
    if not found["tracefs"]["ok"]:
        assert "CAP_SYS_ADMIN" in found["tracefs"]["reason"]


@privileged
def test_the_fingerprint_is_the_same_without_root() -> None:
    from bpfbench.measure.fingerprint import fingerprint

    assert json.loads(as_nobody(lambda: fingerprint().digest)) == fingerprint().digest


def test_the_table_for_people() -> None:
    rows = (Prerequisite("pku", False, "no keys", {}), Prerequisite("x86-64", True, "is one", {}))
    assert table(rows) == "pku     no   no keys\nx86-64  yes  is one"
    written: list[str] = []
    assert main(["nothing-like-it"], written.append) == 2
    assert "there is no prerequisite" in written[0]


def test_run_as_a_module() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bpfbench.measure.prerequisites", "x86-64"],
        capture_output=True, text=True, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert run.returncode == (0 if os.uname().machine == "x86_64" else 1)
    assert run.stdout.startswith("x86-64")
    assert run.stderr == ""
