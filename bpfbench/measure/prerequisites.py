"""What a runtime may require of this machine, each looked at by really trying it.

``python -m bpfbench.measure.prerequisites [NAME …]`` prints a table for people. Results hold a ``seen``
mapping with what the verdict depends on; an *unsupported* arm is looked at again when it changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bpfbench.errors import BenchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpfbench.measure.machine.kernel import Kernel
    from bpfbench.measure.machine.sysroot import Json, Sysroot


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """Whether this machine has something. ``reason``: why not, and what to type; or what shows that it is
    there."""

    name: str
    ok: bool
    reason: str
    seen: Mapping[str, Json]

    def as_json(self) -> dict[str, Json]:
        """Return the fields as a JSON object."""
        return {"name": self.name, "ok": self.ok, "reason": self.reason, "seen": dict(self.seen)}


TITLES: Mapping[str, str] = {
    "kernel-bpf": "maps and tracing programs can be loaded into the kernel",
    "kernel-uprobes": "a uprobe can be put on a function, and fires",
    "kernel-btf": "the kernel describes its own types (BTF)",
    "kernel-jit": "the kernel compiles BPF programs instead of interpreting them",
    "tracefs": "tracefs is mounted, or can be",
    "pku": "memory protection keys of x86 (PKU)",
    "ptrace": "another process can be traced",
    "page-zero": "the page at address 0 can be mapped",
    "fuse": "FUSE file systems can be served",
    "x86-64": "the machine is x86-64",
}
"""Name → what it means; the order is the table's."""


def names() -> tuple[str, ...]:
    """Return the names that a runtime may list under ``requires``."""
    return tuple(TITLES)


def check(name: str, root: Sysroot | None = None, kernel: Kernel | None = None) -> Prerequisite:
    """Try one prerequisite now. Raise BenchError for a name that is none."""
    if name not in TITLES:
        raise BenchError(f"there is no prerequisite {name!r}", hint=_suggestion(name))
    from bpfbench.measure.machine import checks
    from bpfbench.measure.machine.kernel import Kernel
    from bpfbench.measure.machine.sysroot import Sysroot

    ok, reason, seen = checks.CHECKS[name](root or Sysroot(), kernel or Kernel())
    return Prerequisite(name, ok, reason, seen)


def check_all(
    wanted: tuple[str, ...], root: Sysroot | None = None, kernel: Kernel | None = None
) -> tuple[Prerequisite, ...]:
    """Try several prerequisites, in their order. Raise BenchError before trying any if a name is none."""
    for name in wanted:
        if name not in TITLES:
            raise BenchError(f"there is no prerequisite {name!r}", hint=_suggestion(name))
    return tuple(check(name, root, kernel) for name in wanted)


def _suggestion(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, TITLES, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"the names are: {', '.join(TITLES)}"


def table(rows: tuple[Prerequisite, ...]) -> str:
    """Return the rows as text for people: name, yes or no, and the reason."""
    width = max((len(row.name) for row in rows), default=0)
    lines = [f"{row.name:<{width}}  {'yes' if row.ok else 'no ':<3}  {row.reason}" for row in rows]
    return "\n".join(lines)


def main(arguments: list[str], write: Callable[[str], object] = print) -> int:
    """Print the table of all (or the named) prerequisites; 0 if all are there, 1 if not, 2 for an unknown
    name."""
    try:
        rows = check_all(tuple(arguments) or names())
    except BenchError as error:
        write(str(error))
        return 2
    write(table(rows))
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
