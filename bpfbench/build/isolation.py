"""Commands of third-party builds cannot reach a network, and have a known umask."""

from __future__ import annotations

from pathlib import Path

from bpfbench.build.invoke import Run
from bpfbench.errors import BenchError

_NETLESS = (("unshare", "--net", "--"), ("unshare", "--user", "--map-current-user", "--net", "--"))
"""As root, and as anybody where the kernel lets users have namespaces."""
_UMASK = ("sh", "-c", 'umask 022; exec "$@"', "sh")


def isolated(run: Run, cwd: Path) -> tuple[tuple[str, ...], bool]:
    """Return what to put before a command, and whether that cuts it off from the network."""
    for prefix in _NETLESS:
        try:
            if run([*prefix, "true"], cwd).code == 0:
                return (*prefix, *_UMASK), True
        except BenchError:
            continue  # there is no such program
    return _UMASK, False
