"""Method *archive*: a tar or zip from a project's own site, by address and SHA-256.

Fields: ``url``, ``strip`` (directories taken off all names, 1 unless given), ``sha256`` once pinned.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfbench.fetch.download import discard, downloaded
from bpfbench.fetch.tools import Obtained, Tools
from bpfbench.fetch.unpack import unpack
from bpfbench.fetch.zstd import plain_tar


def obtain(fields: Mapping[str, Any], reference: str, tree: Path, tools: Tools) -> Obtained:
    """Fill ``tree``. Raises ``Unavailable``, ``Mismatch`` or ``Refused``."""
    with downloaded(fields["url"], fields.get("sha256"), tools) as (path, sha256):
        unfold(path, tree, tools, fields["url"], int(fields.get("strip", 1)))
        discard(path)
    return Obtained(reference, {"sha256": sha256})


def unfold(path: Path, tree: Path, tools: Tools, name: str, strip: int) -> None:
    """Unpack a verified archive; whatever is wrong with it, it will not be better next time, so it goes."""
    tools.progress(f"unpacking {path.name if '/' not in name else name.rpartition('/')[2]}")
    try:
        unpack(
            path, tree, strip=strip, name=name, limits=tools.limits, progress=tools.progress,
            zstd=lambda packed: plain_tar(packed, tools),
        )  # fmt: skip
    except Exception:
        discard(path)
        raise
