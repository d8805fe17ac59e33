"""What drivers share: talking to our loaders and victims, expanding a runtime's environment, reading machine code."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.errors import BenchError
from bpfbench.process.child import Child
from bpfbench.process.command import minimal_env
from bpfbench.process.identity import privileged

if TYPE_CHECKING:
    from bpfbench.model.types import Runtime
    from bpfbench.sampling import Bench

START_DEADLINE = 30.0
"""Seconds for a process to say that it is ready."""

FIRST_INSTRUCTIONS = {
    "55": "push", "4889f8": "mov", "4863": "movslq", "90": "nop1", "0f1f440000": "nop5", "f30f1efa": "endbr64",
}
"""Leading bytes (hex) → the name of the instruction, as experiment specs call it."""


class Garbled(BenchError):
    """A loader or victim did not keep to the line protocol (workloads/README.md)."""


def first_instruction(code: str) -> str:
    """Return the name of the instruction at the start of ``code`` (hex), or ``unknown``."""
    return next((name for prefix, name in FIRST_INSTRUCTIONS.items() if code.startswith(prefix)), "unknown")


def tell(child: Child, word: str, answer: str, deadline: float) -> dict[str, Any]:
    """Send a command of the line protocol and return the JSON that its answer carries.

    Raises ``ProcessError`` when the process dies or keeps silent, ``Garbled`` when it says something else.
    """
    child.send(word)
    return hear(child, answer, deadline)


def hear(child: Child, answer: str, deadline: float) -> dict[str, Any]:
    """Wait for a line that begins with ``answer`` and return the JSON behind it."""
    line = child.expect(re.compile(rf"^{re.escape(answer)}( |$)"), deadline)
    return fields_of(line, line[len(answer) :].strip() or "{}")


def fields_of(line: str, body: str) -> dict[str, Any]:
    """Return the JSON object that ``body`` is; ``line`` is the whole line, for errors."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Garbled(f"expected a word and a JSON object, got the line {line[:200]!r}")
    return Fields(found)


class Fields(dict[str, Any]):
    """What a process said of itself; a field that it left out is an error of the protocol."""

    def __missing__(self, name: str) -> Any:
        raise Garbled(f"the field {name!r} is missing in {json.dumps(self)[:200]}")


def environment(extra: Mapping[str, str], work: Path, packages: Mapping[str, Path], segment: str) -> dict[str, str]:
    """Return a complete environment: the minimal one and a runtime's additions, with ``{…}`` places filled in.

    Known places are ``{work}``, ``{segment}`` and ``{package:NAME}``; an unknown one is a ``KeyError``.
    """
    places = {"work": str(work), "segment": segment, **{f"package:{name}": str(tree) for name, tree in packages.items()}}
    expanded = {name: re.sub(r"\{([^{}]+)\}", lambda found: places[found[1]], value) for name, value in extra.items()}
    return {**minimal_env(str(work)), **expanded}


def environment_of(runtime: Runtime) -> Mapping[str, str]:
    """Return what an engine's process finds in its environment: a target's, but nothing is preloaded: it is given its programs."""
    return {name: value for name, value in runtime.target_env.items() if name != "LD_PRELOAD"}


def expand(word: str, bench: Bench, work: Path) -> str:
    """Return a word of a runner's command with its places filled in. An unknown place is a ``KeyError``."""
    places = {"python": sys.executable, "work": str(work), **{f"package:{name}": str(tree) for name, tree in bench.outputs.items()}}
    return re.sub(r"\{([^{}]+)\}", lambda found: places[found[1]], word)


SHARED_MEMORY = Path("/dev/shm")


def remove_segments(name: str) -> None:
    """Remove shared memory whose name contains ``name``, which nobody but this sample was given."""
    if SHARED_MEMORY.is_dir():
        for path in SHARED_MEMORY.glob(f"*{name}*"):
            with privileged():  # under sudo, it is root's and we are not
                path.unlink(missing_ok=True)
