"""A machine lock of the campaign's own, for machines on which others build and measure meanwhile."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_INSIDE = "BPFBENCH_FAULTS_APART"
_LOCKED = "/sys/devices/system"
"""Where the machine is locked (``bpfbench.store.locks.MachineLock``)."""


def apart() -> None:
    """Start this program again in mounts of its own, where the directories that are locked are other ones."""
    if os.environ.get(_INSIDE) != str(os.getpid()):
        command = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            sys.executable,
            "-m",
            "tests.faults",
            *sys.argv[1:],
        ]
        os.execvpe(command[0], command, {**os.environ, _INSIDE: str(os.getpid())})
    empty = tempfile.mkdtemp(prefix="bpfbench-faults-", dir="/var/tmp")
    # The same files on another file system: read through it they are what they were, but locks are its own.
    subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir={_LOCKED}:{empty}", "overlay", _LOCKED], check=True)
    atexit.register(Path(empty).rmdir)
