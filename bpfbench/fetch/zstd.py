"""zstd, which Python before 3.14 does not read: by its own program, held to the limits of everything else."""

from __future__ import annotations

import shutil
from pathlib import Path

from bpfbench.fetch.errors import Refused, Unavailable
from bpfbench.fetch.tools import Tools, environment


def plain_tar(packed: Path, tools: Tools) -> Path:
    """Return a file with what is in ``packed``. Raises ``Unavailable`` where there is no zstd, ``Refused``."""
    if shutil.which("zstd") is None:
        raise Unavailable("zstd is not installed", hint="apt-get install zstd")
    limits = tools.limits
    most = min(limits.size, max(limits.free, limits.ratio * packed.stat().st_size))
    place = tools.place("zstd")
    out = place / "plain.tar"
    # The shell's ulimit (in units of 1024 bytes for bash, 512 for others) ends it before a bomb fills the disk.
    script = 'ulimit -f "$1" && exec zstd -q -d -o "$3" -- "$2"'
    argv = ("sh", "-c", script, "sh", str(most // 512), str(packed), str(out))
    tools.connect, patience = tools.silence * 10, tools.connect  # it says nothing while it works
    try:
        ended, _, said = tools.run(argv, cwd=place, env=environment(place), what="zstd")
    finally:
        tools.connect = patience
    if not ended.ok:
        big = ended.signal == "SIGXFSZ" or "too large" in said
        why = f"a bomb: it unfolds into more than {most} bytes" if big else f"broken zstd data: {said.strip()[:200]}"
        raise Refused(packed.name, None, why)
    return out
