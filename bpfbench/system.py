"""What the operating system must provide: what of it is missing, and how its own packages bring it.

Standard library only: ``bpfbench.bootstrap`` uses this before there is an environment with anything else.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.model.types import Requirement

OS_RELEASE = Path("/etc/os-release")
APT_LISTS = Path("/var/lib/apt/lists")
LISTS_AGE = 24 * 3600.0
"""Seconds after which apt's package lists are fetched anew before something is installed."""
LOCK_WAIT = 300.0
"""Seconds that apt may wait for another package manager to finish."""
STEP_LIMIT = 1200.0
"""Seconds after which an apt-get that is still not done is ended."""

_FAMILIES: Mapping[str, tuple[str, str]] = {
    # family → (identifiers in os-release, command that installs packages)
    "debian": ("debian ubuntu", "apt-get install -y --no-install-recommends"),
    "fedora": ("fedora rhel centos", "dnf install -y"),
    "suse": ("suse opensuse sles", "zypper install -y"),
    "arch": ("arch", "pacman -S --needed"),
    "alpine": ("alpine", "apk add"),
}


def missing(requirements: Iterable[Requirement]) -> list[Requirement]:
    """Return those of ``requirements`` that this machine does not provide, in their order."""
    return [requirement for requirement in requirements if not provided(requirement)]


def provided(requirement: Requirement) -> bool:
    """Whether the command is on PATH, the header in the compiler's reach, or the file there."""
    if requirement.command is not None:
        return shutil.which(requirement.command) is not None
    if requirement.header is not None:
        name = requirement.header
        # Asking the compiler takes a process; most headers lie where every compiler looks.
        return Path("/usr/include", name).is_file() or any(
            (d / name).is_file() for d in _include_directories()
        )
    return requirement.file is not None and Path(requirement.file).exists()


def family(os_release: Path | None = None) -> str:
    """Return the family of this operating system (``debian``, ``fedora``, …), ``""`` if not known."""
    try:
        text = (os_release or OS_RELEASE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = dict(re.findall(r"^(ID|ID_LIKE)=[\"']?([^\"'\n]*)", text, re.MULTILINE))
    for word in f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".split():
        for name, (identifiers, _) in _FAMILIES.items():
            if word.partition("-")[0] in identifiers.split():
                return name
    return ""


def install(requirements: Iterable[Requirement], announce: Callable[[str], None]) -> None:
    """Make sure that ``requirements`` are there: root on Debian and Ubuntu installs what is missing.

    ``announce`` is told what is done before it is done. Anybody else, anywhere else gets a ``BenchError``
    with the one command to type. So does root when apt-get fails, or leaves something missing.
    """
    lacking = missing(requirements)
    if not lacking:
        return
    what = "; ".join(f"{r.name} ({r.why}; {_looked_for(r)})" for r in lacking)
    if family() != "debian" or not _is_root() or shutil.which("apt-get") is None:
        raise BenchError(f"missing on this machine: {what}", hint=advice(lacking))
    packages = _packages(lacking, "debian")
    if not packages:
        raise BenchError(f"missing on this machine: {what}", hint=advice(lacking))
    descriptor, name = tempfile.mkstemp(prefix="bpfbench-apt-", suffix=".log")
    os.close(descriptor)
    log = Path(name)
    announce(
        f"installing {' '.join(packages)} with apt-get, for {', '.join(r.name for r in lacking)} (log: {log})"
    )
    _apt_install(packages, log, announce)
    _include_directories.cache_clear()
    still = missing(lacking)
    if still:
        names = "; ".join(f"{r.name} ({_looked_for(r)})" for r in still)
        raise BenchError(
            f"apt-get installed {' '.join(packages)}, but still missing: {names}",
            hint=f"see {log}; is specs/system.yaml right about the packages?",
        )
    log.unlink()


def installable(requirements: Iterable[Requirement]) -> bool:
    """Whether ``install`` would install something here, rather than only say what is missing."""
    known = bool(_packages(missing(requirements), "debian"))
    return known and family() == "debian" and _is_root() and shutil.which("apt-get") is not None


def advice(requirements: Sequence[Requirement]) -> str:
    """Return what to type on this machine to get ``requirements``, or what to look for if unknown."""
    here = family()
    packages = _packages(requirements, here)
    unknown = [r for r in requirements if not r.packages.get(here)]
    parts = []
    if packages:
        sudo = "" if _is_root() else "sudo "
        parts.append(f"{sudo}{_FAMILIES[here][1]} {shlex.join(packages)}")
    if unknown:
        parts.append(
            "find the packages of this system that provide " + ", ".join(_looked_for(r) for r in unknown)
        )
        debian = _packages(unknown, "debian")
        if debian and here != "debian":
            parts[-1] += f" (on Debian: {' '.join(debian)})"
    return "; and ".join(parts)


def _looked_for(requirement: Requirement) -> str:
    if requirement.command is not None:
        return f"command {requirement.command}"
    if requirement.header is not None:
        return f"header <{requirement.header}>"
    return f"file {requirement.file}"


def _packages(requirements: Iterable[Requirement], of: str) -> list[str]:
    return list(dict.fromkeys(package for r in requirements for package in r.packages.get(of, ())))


@functools.cache
def _include_directories() -> tuple[Path, ...]:
    """Where the C compiler looks for headers, as it says itself."""
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None:
        return (Path("/usr/local/include"),)
    said = subprocess.run(
        [compiler, "-E", "-v", "-x", "c", "/dev/null"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, "LC_ALL": "C"},
    ).stderr  # fmt: skip
    _, _, listed = said.partition("#include <...> search starts here:\n")
    return tuple(Path(line.strip()) for line in listed.partition("End of search list")[0].splitlines())


def _is_root() -> bool:
    # The saved user counts: under sudo, files are made as the invoking user, root is kept for what needs it.
    return 0 in os.getresuid()


def _become_root() -> None:
    os.setresuid(0, 0, 0)
    os.setgroups([0])
    os.setresgid(0, 0, 0)


def _apt_install(packages: Sequence[str], log: Path, announce: Callable[[str], None]) -> None:
    command = ["install", "-y", "--no-install-recommends", *packages]
    fresh = _lists_age() > LISTS_AGE
    if fresh:
        # That this fails is no end yet: the lists that are there may do.
        _apt(["update"], log)
    if _apt(command, log) == 0:
        return
    if not fresh:
        announce("apt-get could not; once more with fresh package lists")
        _apt(["update"], log)
        if _apt(command, log) == 0:
            return
    lines = log.read_text(errors="replace").splitlines()
    errors = list(dict.fromkeys(line for line in lines if line.startswith(("E: ", "Err:")))) or lines
    raise BenchError(
        f"apt-get could not install {' '.join(packages)}:\n    " + "\n    ".join(errors[-6:]),
        hint=f"all that it said is in {log}; to try by hand: apt-get update && apt-get {shlex.join(command)}",
    )


def _lists_age() -> float:
    """Seconds since apt last fetched its package lists; infinite when there are none."""
    if not any(APT_LISTS.glob("*_Packages*")):
        return float("inf")
    # The lists themselves carry the archive's times; fetching them touches these directories.
    looked_at = [d.stat().st_mtime for d in (APT_LISTS, APT_LISTS / "partial") if d.exists()]
    return time.time() - max(looked_at)


def _apt(arguments: Sequence[str], log: Path) -> int:
    """Run apt-get as root, without questions, its output at the end of ``log``; return its exit status."""
    environment = {
        **os.environ,
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C",
        "NEEDRESTART_SUSPEND": "1",
    }
    command = [
        "apt-get", "-q", "-o", f"DPkg::Lock::Timeout={LOCK_WAIT:.0f}", "-o", "Acquire::Retries=2",
        "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", *arguments,
    ]  # fmt: skip
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        with log.open("ab") as out:
            out.write(f"$ {shlex.join(command)}\n".encode())
            out.flush()
            start = out.tell()
            status = _run_to_end(command, environment, out.fileno())
        with log.open("rb") as said:
            said.seek(start)
            # The package lists have a lock of their own, for which apt-get does not wait.
            locked = b"Could not get lock" in said.read()
        if status == 0 or not locked or time.monotonic() > deadline:
            return status
        time.sleep(1.0)


def _run_to_end(command: Sequence[str], environment: Mapping[str, str], out: int) -> int:
    """Run a package manager, which must not be cut off: when interrupted, wait until it has tidied up."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, cwd="/",
        preexec_fn=_become_root,  # noqa: PLW1509 (user= needs root as the effective user)
    )  # fmt: skip
    try:
        return process.wait(STEP_LIMIT)
    except subprocess.TimeoutExpired:
        process.terminate()
        return process.wait() or 1
    except BaseException:
        process.terminate()
        process.wait()
        raise
