"""What fetching an archive costs, beside the plain tools that do the same.

    python benchmarks/fetch.py [--rounds N] [ARCHIVE ...]

For each archive (without any: one made here, of 2,000 files), from a web server on loopback: from the request until the verified
tree is an item of the store, on the disk, beside curl, sha256sum and tar one after the other. To reach: at most 1.3 times their time.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from archives import archive
from pairs import Work, paired

from bpfbench.context import Context
from bpfbench.fetch.unpack import unpack
from bpfbench.fetching import fetch_step
from bpfbench.layout import Layout
from bpfbench.model.types import Location, Locked, Model, Origin, Source, Words
from bpfbench.store import tree as trees
from bpfbench.store.nar import nar_hash


def quiet(note: str, *, done: int = 0, total: int = 0) -> None:
    """Nobody watches."""


def model(path: Path, url: str, place: Path) -> tuple[Model, Source]:
    """Return a model with the archive as its one source, locked."""
    made = place / "tree"
    made.mkdir()
    unpack(path, made, strip=1)
    locked_hash = nar_hash(made)
    trees.delete(made)
    fields = {"url": url}
    pin = Origin("archive", {**fields, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    locked = Locked("1", "1", locked_hash, (pin,))
    source = Source("made", "Made", "1", (Origin("archive", fields),), Location("x", 1, 1), locked)
    return Model({"made": source}, {}, {}, {}, {}, "quick", {}, ""), source


def both(path: Path, url: str, place: Path) -> tuple[Work, Work]:
    """Return what fetches with the tool, and what does with the plain tools, each into a new directory."""
    made, source = model(path, url, place)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    script = f"curl -sS -o f {url} && echo '{sha256}  f' | sha256sum -c --quiet && mkdir x && tar xf f -C x --strip-components=1"
    numbers = itertools.count()

    def ours() -> None:
        root = place / f"ours{next(numbers)}"
        fetch_step(Context(Layout.of(root), made, Words("quick"), root), source).run(quiet)  # type: ignore[arg-type]

    def theirs() -> None:
        plain = place / f"plain{next(numbers)}"
        plain.mkdir()
        subprocess.run(["sh", "-c", script], cwd=plain, check=True)

    return ours, theirs


def tidy(place: Path) -> None:
    """Delete what was fetched, and let the disk come to rest."""
    for left in (*place.glob("ours*"), *place.glob("plain*")):
        trees.delete(left)
    os.sync()


def main(rounds: int, names: list[str]) -> None:
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
                    ours, theirs = both(path, f"http://127.0.0.1:{port}/{path.name}", place)
                    name = f"fetch of {path.name} ({path.stat().st_size / 1e6:.1f} MB) beside curl, sha256sum and tar"
                    paired(name, ours, theirs, rounds, lambda: tidy(place))
                finally:
                    web.terminate()
    finally:
        trees.delete(place)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("archives", nargs="*")
    options = parser.parse_args()
    main(options.rounds, options.archives)
