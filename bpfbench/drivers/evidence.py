"""How an arm proves which engine ran its programs, by which mechanism, and that its libraries are really there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bpfbench.process.identity import privileged


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was proved of an instrumented sample. ``wrong`` says what speaks against it, if anything does."""

    engine: str | None = None
    backend: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    wrong: str | None = None


def of_kernel(loaded: Mapping[str, Any], backend: str | None) -> Evidence:
    """The kernel tells by the length of the machine code that it made of each program."""
    programs = loaded["programs"]
    compiled = bool(programs) and all(program.get("jited_length") for program in programs)
    return Evidence("kernel-jit" if compiled else "kernel-interpreter", backend)


def of_status(path: Path) -> Evidence:
    """A userspace runtime tells by the file that its agent leaves when the target ends.

    It must name engine and backend, report no error, list at least one program, and none that was not attached.
    """
    try:
        told = json.loads(path.read_bytes())
        programs = [dict(program) for program in told["programs"]]
        engine, backend = told["engine"], told["backend"]
    except OSError as error:
        return Evidence(wrong=f"the agent left no status in {path.name}: {error.strerror}")
    except (ValueError, KeyError, TypeError) as error:
        return Evidence(wrong=f"the agent's status cannot be read: {error!r}")
    wrong = told.get("error") or next((one["error"] for one in programs if one.get("error")), None)
    if not wrong and not programs:
        wrong = "the agent has attached no program"
    if not wrong and told.get("missed"):
        wrong = f"the agent missed {told['missed']} hits"
    details = {"verification": sorted({str(one.get("verification")) for one in programs})}
    return Evidence(engine, backend, details, wrong)


def unmapped(pid: int, preload: str) -> str | None:
    """Return which of the libraries in ``preload`` (as in ``LD_PRELOAD``) process ``pid`` has not mapped; None: all are."""
    if not preload:
        return None
    with privileged():  # under sudo, the process is root's and we are not
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    return next((name for name in preload.split(":") if name and f" {name}\n" not in maps), None)
