"""The tree hash of 30,000 files beside ``tar c | sha256sum`` of the same tree.

    python benchmarks/tree_hash.py [ROUNDS] [FILES]

Both read everything from the page cache, as after unpacking. To reach: at most 1.5 times its time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from archives import tree
from pairs import paired

from bpfbench.store import tree as trees
from bpfbench.store.nar import nar_hash


def main(rounds: int, files: int) -> None:
    """Measure and print."""
    place = Path(tempfile.mkdtemp(prefix="bpfbench-tree-hash-"))
    try:
        made = tree(place, files)
        command = ["sh", "-c", "tar c . | sha256sum > /dev/null"]
        plain = lambda: subprocess.run(command, cwd=made, check=True)  # noqa: E731
        paired(f"tree hash of {files} files beside tar c | sha256sum", lambda: nar_hash(made), plain, rounds)
    finally:
        trees.delete(place)


if __name__ == "__main__":
    main(*(int(word) for word in (*sys.argv[1:], *("15", "30000")[len(sys.argv) - 1 :])))
