"""A second checkout with the first one's store: what it makes again (to reach: nothing), and how long ``doit`` takes then (at most 2 s).

    python benchmarks/second_checkout.py [ROUNDS] [WORD ...]

Everything happens in copies of this checkout. The first one builds and measures into a store that both use (with the words given;
without any, the native arm of one case, for a second). The second one, in a place of another name, is then asked for the same.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from checkout import copy_to, doit
from pairs import quantity

from bpfbench.store import tree as trees
from bpfbench.store.store import Store

WORDS = ("arms=native", "cases=uprobe", "budget=1s", "noise=accept")


def seconds(checkout: Path, *words: str) -> float:
    """Return the wall time of one doit, which has to succeed."""
    begun = time.perf_counter()
    doit(checkout, *words)
    return time.perf_counter() - begun


def made(store: Store) -> dict[str, tuple[int, int]]:
    """Return item → what tells one making of it from another."""
    return {item.id: ((info := item.tree.stat()).st_ino, info.st_ctime_ns) for item in store.items()}


def main(rounds: int, words: tuple[str, ...]) -> None:
    """Measure and print."""
    place = Path(tempfile.mkdtemp(prefix="bpfbench-second-"))
    try:
        shared = place / "store"
        words = (*words, f"store={shared}")
        first = seconds(copy_to(place / "first"), *words)
        before, second = made(Store(shared)), copy_to(place / "another name" / "second")
        again = seconds(second, *words)
        new = {item for item, stamp in made(Store(shared)).items() if before.get(item) != stamp}
        built = sorted(path.name for path in (second / ".bench" / "logs").glob("build_*"))
        print(f"first checkout: {first:.1f} s, {len(before)} items made")
        print(f"second checkout: {again:.1f} s, {len(new)} items made, {len(built)} builds {' '.join(built)}".rstrip())
        print(f"its doit with nothing to do: {quantity([seconds(second, *words) for _ in range(rounds)])}")
    finally:
        trees.delete(place)


if __name__ == "__main__":
    main(int(next(iter(sys.argv[1:]), "15")), tuple(sys.argv[2:]) or WORDS)
