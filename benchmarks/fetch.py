"""What fetching and hashing cost, beside the plain tools that do the same.

    python benchmarks/fetch.py [ARCHIVE ...]

For each tar (without any: one made here, of 2,000 files), from a web server on loopback: the seconds from the request until the
verified tree is a store item, over those of curl, sha256sum and tar. Then: the tree hash of 30,000 files over `tar c | sha256sum`.
Each is done five times in turn, and the medians are compared.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bpfbench.context import Context
from bpfbench.fetch.unpack import unpack
from bpfbench.fetching import fetch_step
from bpfbench.layout import Layout
from bpfbench.model.types import Location, Locked, Model, Origin, Source, Words
from bpfbench.store import tree as trees
from bpfbench.store.nar import nar_hash

TIMES = 5


def quiet(note: str, *, done: int = 0, total: int = 0) -> None:
    """Nobody watches."""


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(name: str, ours: list[float], theirs: list[float]) -> None:
    """Print one line."""
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"{name}: {mine:.3f} s, plain tools {other:.3f} s, ratio {mine / other:.2f}")


def archive(path: Path, files: int) -> Path:
    """Make a gzipped tar of text that compresses as sources do."""
    generator = random.Random(1)
    words = [generator.randbytes(4).hex() for _ in range(3000)]
    with tarfile.open(path, "w:gz", compresslevel=6) as out:
        for number in range(files):
            body = " ".join(generator.choices(words, k=generator.randrange(10, 1200))).encode()
            entry = tarfile.TarInfo(f"made-1/src/{number % 50:02d}/file{number}.c")
            entry.size = len(body)
            out.addfile(entry, io.BytesIO(body))
    return path


def fetch(path: Path, url: str, place: Path) -> tuple[list[float], list[float]]:
    """Fetch an archive with the tool and with the plain tools, in turn; return the seconds of both."""
    tree = place / "tree"
    tree.mkdir()
    unpack(path, tree, strip=1)
    locked_hash = nar_hash(tree)
    trees.delete(tree)
    fields = {"url": url}
    pin = Origin("archive", {**fields, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    locked = Locked("1", "1", locked_hash, (pin,))
    source = Source("made", "Made", "1", (Origin("archive", fields),), Location("x", 1, 1), locked)
    model = Model({"made": source}, {}, {}, {}, {}, "quick", {}, "")
    script = f"curl -sS -o f {url} && sha256sum f > /dev/null && mkdir x && tar xf f -C x --strip-components=1"
    ours, theirs = [], []
    for number in range(TIMES):
        root, plain = place / f"ours{number}", place / f"plain{number}"
        plain.mkdir()
        os.sync()
        theirs.append(timed(lambda plain=plain: subprocess.run(["sh", "-c", script], cwd=plain, check=True)))  # type: ignore[misc]
        shutil.rmtree(plain)
        os.sync()
        context = Context(Layout.of(root), model, Words("quick"), root)
        ours.append(timed(lambda context=context: fetch_step(context, source).run(quiet)))  # type: ignore[misc,arg-type]
        trees.delete(root)
    return ours, theirs


def hashing(place: Path) -> tuple[list[float], list[float]]:
    """Hash 30,000 files with the tool and with the plain tools, in turn."""
    tree = place / "many"
    tree.mkdir()
    unpack(archive(place / "many.tar.gz", 30_000), tree, strip=1)
    ours, theirs = [], []
    for _ in range(TIMES):
        theirs.append(timed(lambda: subprocess.run(["sh", "-c", "tar c . | sha256sum > /dev/null"], cwd=tree, check=True)))
        ours.append(timed(lambda: nar_hash(tree)))
    return ours, theirs


def main(names: list[str]) -> None:
    """Measure and print."""
    place = Path(tempfile.mkdtemp(prefix="bpfbench-fetch-"))
    try:
        paths = [Path(name).resolve() for name in names] or [archive(place / "made.tar.gz", 2000)]
        for path in paths:
            command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", str(path.parent)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as web:
                assert web.stdout
                port = web.stdout.readline().split(" port ")[1].split()[0]
                try:
                    compare(f"fetch {path.name}", *fetch(path, f"http://127.0.0.1:{port}/{path.name}", place))
                finally:
                    web.terminate()
        compare("tree hash of 30,000 files", *hashing(place))
    finally:
        trees.delete(place)


if __name__ == "__main__":
    main(sys.argv[1:])
