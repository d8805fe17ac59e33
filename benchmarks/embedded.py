"""The embedded runtime beside the kernel: every figure that it is to reach, from one interleaved run.

    .venv/bin/python benchmarks/embedded.py [BLOCKS] [ROW ...]

Needs root (the kernel's side loads BPF programs) and a machine that is left alone. What is measured is what this checkout builds.
Each block measures everything once, in an order of its own, with a fresh loader and a fresh target a sample; a row's ratio is
taken block by block, and its 95 % interval is that of the median over the blocks. A bound counts as reached when the unfavourable
end of the interval does. A sample is the fastest of many short rounds; every count is exact or the run ends.

Times are per call with the call itself in them (hooks, the ring), per operation with the empty hit taken off (maps, memory), or
added to a call without anything (system calls). Words after BLOCKS choose rows by parts of their names.
"""

from __future__ import annotations

import os
import platform
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from embedded_samples import OPERATIONS, Calls, Hit, Place, Record, Starts, Threads  # noqa: E402

from bpfbench.build import workload  # noqa: E402
from bpfbench.layout import Layout  # noqa: E402
from bpfbench.model.load import load  # noqa: E402
from bpfbench.model.types import Artefact, Location, Package  # noqa: E402
from bpfbench.stats.summary import summarise  # noqa: E402

BLOCKS = 15
COMMON = tuple(f"workloads/common/{name}.c" for name in ("counters", "json", "libbpf_log", "object", "protocol"))
OWN = Package(
    "figures", "Programs for the embedded runtime's figures", "workload", Location("benchmarks/embedded.py", 1, 1),
    inputs=("workloads/common", "benchmarks/embedded"), options={"static": ["bpf"]},
    artefacts=(
        Artefact("program.bpf.o", "bpf-object", ("benchmarks/embedded/program.bpf.c",), ("workloads/common",), ("-mcpu=v3",), ()),
        Artefact("loader", "executable", ("benchmarks/embedded/loader.c", *COMMON), ("workloads/common",), (), ("bpf", "elf", "z")),
        Artefact(
            "caller", "executable",
            ("benchmarks/embedded/caller.c", *(f"workloads/common/{name}.c" for name in ("gauge", "json", "protocol"))),
            ("workloads/common",), ("-fcf-protection=none", "-pthread"), (),
        ),
        Artefact("starts", "executable", ("benchmarks/embedded/starts.c",), (), (), ()),
    ),
)  # fmt: skip


# --- rows ---------------------------------------------------------------------------------------------------------

Block = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Row:
    """A figure: two values of each block, and the ratio that is wanted."""

    title: str
    wanted: float
    most: bool
    """Whether the ratio has to be at most that."""
    values: Callable[[Block], tuple[float, float]]
    unit: str


SAMPLES: dict[str, tuple[Callable[[Place, str], float], tuple[str, ...]]] = {}
ROWS: list[Row] = []
BOTH = ("kernel", "embedded")


def sample(name: str, take: Callable[[Place, str], float], arms: tuple[str, ...] = BOTH) -> None:
    """Say that this is measured."""
    SAMPLES[name] = take, arms


def per_call(title: str, name: str, wanted: float) -> None:
    """Say that the whole call is compared."""
    ROWS.append(Row(title, wanted, False, lambda block: (block[name, "kernel"], block[name, "embedded"]), "ns a call"))


def beyond(title: str, name: str, floor: str, wanted: float, *, divisor: int = 1, floors: tuple[str, str] = BOTH) -> None:
    """Say that what comes on top of ``floor`` is compared."""

    def values(block: Block) -> tuple[float, float]:
        kernel, embedded = ((block[name, arm] - block[floor, its]) / divisor for arm, its in zip(BOTH, floors, strict=True))
        return kernel, embedded

    ROWS.append(Row(title, wanted, False, values, "ns an operation" if divisor > 1 else "ns added"))


def operation(name: str, title: str, wanted: float, **more: Any) -> None:
    """Say that one of a thousand operations is compared."""
    sample(name, Hit(name, "bench_push", inner=OPERATIONS, **more))
    beyond(title, name, "floor", wanted, divisor=OPERATIONS)


def hooks() -> None:
    """Say what is measured of the hooks themselves."""
    sample("uprobe", Hit("at_entry", "bench_nop5"))
    sample("uretprobe", Hit("at_return", "bench_nop5", "uretprobe"))
    sample("floor", Hit("at_entry", "bench_push"))
    per_call("uprobe, counting, on a nop of 5 bytes", "uprobe", 20)
    per_call("uretprobe, counting, on a nop of 5 bytes", "uretprobe", 20)


def maps() -> None:
    """Say what is measured of maps."""
    for name, title, wanted in (("hash", "hash", 3.0), ("array", "array", 0.9), ("per_cpu_hash", "per-CPU hash", 3.0),
                                ("per_cpu_array", "per-CPU array", 0.9)):  # fmt: skip
        operation(f"{name}_lookup", f"{title} look-up", wanted, fill=name)
        operation(f"{name}_update", f"{title} update", wanted, fill=name)
        if "hash" in name:
            operation(f"{name}_delete_hit", f"{title} delete", wanted, fill=name, before=f"{name}_refill")
        else:
            operation(f"{name}_delete", f"{title} delete (refused)", wanted, fill=name)


def others() -> None:
    """Say what else is measured."""
    operation("read_8", "bpf_probe_read_user of 8 bytes", 15, own=True)
    sample("record", Record("record", "bench_push", own=True))
    sample("record_nop5", Record("record", "bench_nop5", own=True))
    per_call("ring buffer reserve and submit", "record", 12)
    per_call("the same, on a nop of 5 bytes", "record_nop5", 12)
    sample("bare call", Calls(), ("bare",))
    for name, sides in (("sys_enter", ("enter",)), ("sys_exit", ("exit",)), ("sys_enter and sys_exit", ("enter", "exit"))):
        sample(name, Calls(sides))
        beyond(f"{name} of getppid, added", name, "bare call", 2, floors=("bare", "bare"))
    sample("start", Starts(), ("bare", "embedded"))
    title = "start of /bin/true with 18 programs / bare"
    ROWS.append(Row(title, 8, True, lambda block: (block["start", "embedded"], block["start", "bare"]), "µs"))
    sample("nothing shared", Threads(calls=100_000), ("bare",))
    for name in ("array", "hash"):
        sample(f"threads {name}", Threads(f"add_{name}"), ("embedded",))
        title = f"2 threads on one per-CPU {name} / nothing shared"
        ROWS.append(Row(title, 0.9, False, partial(scaling, f"threads {name}"), "of 1 thread"))


def scaling(name: str, block: Block) -> tuple[float, float]:
    """Return by how much two threads do more than one, and the same of a loop that shares nothing."""
    return block[name, "embedded"], block["nothing shared", "bare"]


# --- the run ------------------------------------------------------------------------------------------------------


def build(work: Path) -> Place:
    """Build the runtime, the workload, and this benchmark's own programs."""
    packages = load(Layout.of(ROOT)).packages
    trees = {}
    for package in (packages["embedded"], packages["uprobe"], OWN):
        workload.make(package, ROOT, work / package.name, cache=work)
        trees[package.name] = work / package.name
    (work / "run").mkdir()
    return Place(work / "run", trees["embedded"], trees["uprobe"], trees["figures"])


def chosen(words: Sequence[str]) -> tuple[list[Row], set[str]]:
    """Return the rows that are asked for, and the samples that they need."""
    rows = [row for row in ROWS if not words or any(word in row.title for word in words)]
    needed: set[str] = set()

    class Noting(dict[tuple[str, str], float]):
        def __missing__(self, key: tuple[str, str]) -> float:
            needed.add(key[0])
            return 1.0

    for row in rows:
        row.values(Noting())
    return rows, needed


def tell(row: Row, blocks: Sequence[Block]) -> None:
    """Print a row of the table."""
    pairs = [row.values(block) for block in blocks]
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = summarise([ratio(row, *pair) for pair in pairs])
    middle = sorted(first)[len(first) // 2], sorted(second)[len(second) // 2]
    if found.median_low is None or found.median_high is None:
        print(f"| {row.title} | {middle[0]:.4g} | {middle[1]:.4g} {row.unit} | no interval | | |")
        return
    reached = found.median_high <= row.wanted if row.most else found.median_low >= row.wanted
    print(
        f"| {row.title} | {middle[0]:.4g} | {middle[1]:.4g} {row.unit} | {found.median:.3g} "
        f"({found.median_low:.3g} to {found.median_high:.3g}) | {'≤' if row.most else '≥'} {row.wanted:g} | {'yes' if reached else 'no'} |"
    )


def ratio(row: Row, first: float, second: float) -> float:
    """Return a block's ratio. Where noise left nothing of a difference there is none, and the block speaks against us."""
    if first > 0 and second > 0:
        return first / second
    return 2 * row.wanted if row.most else 0.0


def with_tracepoints() -> None:
    """Begin again with the kernel's list of tracepoints mounted, for us alone, unless it is there."""
    where = Path("/sys/kernel/tracing")
    if (where / "events").exists() or "FIGURES_MOUNTED" in os.environ:
        return
    os.environ["FIGURES_MOUNTED"] = "1"
    mount = f'mount -t tracefs tracefs {where} && exec "$@"'
    os.execvp("unshare", ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, *sys.argv])


def main(arguments: Sequence[str]) -> None:
    """Measure, and print the table."""
    with_tracepoints()
    hooks()
    maps()
    others()
    rows, needed = chosen(arguments[1:])
    blocks: list[Block] = []
    with tempfile.TemporaryDirectory(prefix="embedded-figures-") as folder:
        place = build(Path(folder))
        for number in range(int(arguments[0]) if arguments else BLOCKS):
            order = [(name, arm) for name in sorted(needed) for arm in SAMPLES[name][1]]
            random.Random(number).shuffle(order)
            blocks.append({(name, arm): SAMPLES[name][0](place, arm) for name, arm in order})
            print(f"block {number + 1}", file=sys.stderr)
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Linux {platform.release()}, {len(blocks)} blocks\n")
    print("| | kernel, or as said | embedded, or as said | ratio (95 %) | wanted | reached |\n|---|---|---|---|---|---|")
    for row in rows:
        tell(row, blocks)


if __name__ == "__main__":
    main(sys.argv[1:])
