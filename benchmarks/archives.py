"""Archives and trees of text that compresses as sources do, the same ones in every run."""

from __future__ import annotations

import io
import random
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bpfbench.fetch.unpack import unpack


def archive(path: Path, files: int) -> Path:
    """Make a gzipped tar."""
    generator = random.Random(1)
    words = [generator.randbytes(4).hex() for _ in range(3000)]
    with tarfile.open(path, "w:gz", compresslevel=6) as out:
        for number in range(files):
            body = " ".join(generator.choices(words, k=generator.randrange(10, 1200))).encode()
            entry = tarfile.TarInfo(f"made-1/src/{number % 50:02d}/file{number}.c")
            entry.size = len(body)
            out.addfile(entry, io.BytesIO(body))
    return path


def tree(place: Path, files: int) -> Path:
    """Make a directory of as many files below ``place``."""
    made = place / "tree"
    made.mkdir()
    packed = archive(place / "tree.tar.gz", files)
    unpack(packed, made, strip=1)
    packed.unlink()
    return made
