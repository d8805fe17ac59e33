"""Asking programs what they are: a version line, the state of a checkout. Each with a deadline and a bare
environment."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bpfbench.measure.machine.sysroot import Json, Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

DEADLINE = 5.0
"""Seconds that one program gets. A version is printed in milliseconds; git on a cold cache of a big tree
takes longest."""


def output(
    command: Sequence[str | Path], *, deadline: float = DEADLINE, statuses: Sequence[int] = (0,)
) -> str:
    """Return what a program prints, standard output before standard error. Raise Unreadable, also after the
    deadline.

    The program gets its own session, so that on a timeout it goes together with what it started.
    """
    import subprocess

    name = Path(command[0]).name
    # SUDO_UID lets git see that the checkout of the user who called sudo is no stranger's
    kept = {key: os.environ[key] for key in ("PATH", "SUDO_UID") if key in os.environ}
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "GIT_OPTIONAL_LOCKS": "0", **kept}
    try:
        child = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environment, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise Unreadable(f"{name}: {os.strerror(error.errno or 0)}") from None
    try:
        out, err = child.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        raise Unreadable(f"{name} did not answer within {deadline:g} s") from None
    finally:
        if child.returncode is None:  # too slow, or we were interrupted, which does not reach another session
            _end(child)
    text = out.decode("utf-8", "replace") + err.decode("utf-8", "replace")
    if child.returncode not in statuses:
        first = next(iter(err.decode("utf-8", "replace").strip().splitlines()), "no message")
        raise Unreadable(f"{name} ended with status {child.returncode}: {first[:200]}")
    return text


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child's whole session. Its pipes are closed, not drained: something that got away may hold them
    open."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            stream.close()


def version(command: Sequence[str | Path], *, deadline: float = DEADLINE) -> str:
    """Return the first line with a digit in it that a program prints when asked. Some end with 1 after
    their usage."""
    text = output(command, deadline=deadline, statuses=(0, 1))
    for line in text.splitlines():
        if any(character.isdigit() for character in line):
            return line.strip()[:200]
    raise Unreadable(f"{Path(command[0]).name} printed no version")


def checkout(directory: Path, *, deadline: float = DEADLINE) -> Mapping[str, Json]:
    """Return the commit of a git checkout and how many tracked and untracked files differ from it. Raise
    Unreadable."""
    quiet = (
        "-c",
        f"safe.directory={directory}",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
    )
    git = ("git", "-C", directory, *quiet)
    commit = output([*git, "rev-parse", "--verify", "HEAD"], deadline=deadline).strip()
    status = output([*git, "status", "--porcelain=v1", "-z", "--no-renames"], deadline=deadline)
    entries = [entry for entry in status.split("\0") if entry]
    untracked = sum(entry.startswith("??") for entry in entries)
    return {
        "commit": commit,
        "dirty": bool(entries),
        "changed_files": len(entries) - untracked,
        "untracked_files": untracked,
    }
