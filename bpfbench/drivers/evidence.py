"""How an arm proves which engine ran its programs, by which mechanism, and that its libraries are really there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.process.identity import privileged

if TYPE_CHECKING:
    from bpfbench.model.types import Log


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was proved of an instrumented sample. ``wrong`` says what speaks against it, if anything does."""

    engine: str | None = None
    backend: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    wrong: str | None = None
    unable: str | None = None
    """Why the engine cannot run these programs at all, in its own words."""


def of_kernel(loaded: Mapping[str, Any], backend: str | None) -> Evidence:
    """The kernel tells by the length of the machine code that it made of each program."""
    programs = loaded["programs"]
    compiled = bool(programs) and all(program.get("jited_length") for program in programs)
    return Evidence("kernel-jit" if compiled else "kernel-interpreter", backend, {"verification": ["kernel"]})


def of_status(path: Path) -> Evidence:
    """A userspace runtime tells by the file that its agent leaves when the target ends.

    It must name engine and backend, report no error, list at least one program, and none that was not attached or that says
    of itself that it was compiled by another engine.
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
    others = sorted({str(one["engine"]) for one in programs if one.get("engine", engine) != engine})
    if not wrong and others:
        wrong = f"the agent's engine is {engine}, but programs were compiled by {', '.join(others)}"
    return Evidence(engine, backend, _verification(programs), wrong)


def _verification(programs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return who has verified the programs, and why nobody has if that is so, as far as they say."""
    told = {"verification": sorted({str(one["verification"]) for one in programs if one.get("verification")})}
    why = sorted({str(one.get("verification_reason")) for one in programs if one.get("verification") == "unverified"})
    return {**told, "unverified_because": why} if why else told


def of_log(log: Log, work: Path, backend: str | None) -> Evidence:
    """A userspace runtime that leaves no status tells by its log, if the target's programs were attached.

    That hooks are its own mechanism's (``backend``) follows from its library being mapped and the attaching being its own word.
    """
    found = {}
    for side, names in (("loader", log.loader), ("target", log.target)):
        try:
            lines = [line for name in names for line in _lines(Path(name.replace("{work}", str(work))))]
        except OSError as error:
            return Evidence(wrong=f"the {side}'s log cannot be read: {error.filename}: {error.strerror}")
        if log.unable and (unable := next((line for line in lines if re.search(log.unable, line)), None)):
            return Evidence(unable=f"the {side}'s log says: {_undated(unable)}")
        if wrong := next((line for line in lines if re.search(log.failed, line)), None):
            return Evidence(wrong=f"the {side}'s log says: {_undated(wrong)}")
        found[side] = lines
    if not any(re.search(log.ready, line) for line in found["target"]):
        return Evidence(wrong=f"the target's log does not say that anything was attached ({log.ready})")
    engines = {side: {match[1] for line in lines if (match := re.search(log.engine, line))} for side, lines in found.items()}
    if engines["loader"] != engines["target"] or len(engines["target"]) != 1:
        told = " and the ".join(f"{side}'s {' and '.join(sorted(names)) or 'none'}" for side, names in engines.items())
        return Evidence(wrong=f"both logs must name one engine ({log.engine}): the {told}")
    return Evidence(engines["target"].pop(), backend)


def _undated(line: str) -> str:
    """Return a line of a log without the times and numbers that it begins with: the same trouble is told in the same words."""
    return re.sub(r"^(\[[\d :.-]+\]\s*)+", "", re.sub(r"(\[[a-z]+\])\s*\[\d+\]", r"\1", line)).strip()


def _lines(path: Path) -> list[str]:
    with privileged():  # under sudo, it is root's and we are not
        return path.read_text(errors="replace").splitlines()


def unmapped(pid: int, preload: str) -> str | None:
    """Return which of the libraries in ``preload`` (as in ``LD_PRELOAD``) process ``pid`` has not mapped; None: all are."""
    if not preload:
        return None
    with privileged():  # under sudo, the process is root's and we are not
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    return next((name for name in preload.split(":") if name and f" {name}\n" not in maps), None)
