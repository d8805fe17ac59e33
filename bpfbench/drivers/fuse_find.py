"""``find`` over many files: the same programs for a client that asks for everything once, and that somebody else wrote.

Every run of find is a process of its own. The first one of a sample finds everything for the first time; what the later ones take is the
metric, per file. Each must have found as many files as there are, and have asked as many questions as the first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from bpfbench.drivers.common import START_DEADLINE, tell
from bpfbench.drivers.pair import Invalid
from bpfbench.sampling import Proof, Sample

if TYPE_CHECKING:
    from bpfbench.drivers.fuse import FusePair

FILES = 100
"""In each folder."""
RUNS = 3
WITHIN = 600.0
"""Seconds that a find may take."""


def table_sizes(folders: int) -> list[str]:
    """Return the loader's options: a cache with room for all, twice over."""
    return ["--names", str(_power(2 * folders * (FILES + 1))), "--listings", str(_power(4 * folders))]


def _power(least: int) -> int:
    return 1 << (least - 1).bit_length()


def measure(pair: FusePair, folders: int) -> Sample:
    """Let find go through everything, once for the first time and then as often as is timed."""
    files = folders * FILES
    first = _find(pair, "first", files)
    runs = [_find(pair, f"find-{number}", files) for number in range(RUNS)]
    spent = [run["seconds"] * 1e9 / files for run in runs]
    proof = _proof(first, runs, files) if pair.loader else Proof("files found", files, files)
    evidence = {"files": files, "first_s": first["seconds"], "runs": runs, "system": pair.params["system"]}
    pair.end_all()
    proved = pair.evidence_of_server()
    about: dict[str, Any] = {"proof": proof, "engine": proved.engine, "backend": proved.backend, "evidence": evidence, "cpu": pair.cpu}
    if proved.wrong:
        return Sample.failed(proved.wrong, **about)
    if not proof.holds:
        return Sample.failed(f"not proved: expected {proof.expected} {proof.kind}, observed {proof.observed}", **about)
    return Sample("ok", metrics={"time": min(spent), "time_median": median(spent), "time_mean": fmean(spent)}, **about)


def _proof(first: Mapping[str, Any], runs: list[dict[str, Any]], files: int) -> Proof:
    """Every question of every run was seen, one a file at least, whoever answered it; most were answered from the cache."""
    wanted = first["asked"]
    if wanted < files:
        return Proof("questions seen, one a file at least", files, wanted)
    for run in runs:
        if run["asked"] != wanted:
            return Proof("questions seen", wanted, run["asked"])
        if run["answered"] * 2 < wanted:
            return Proof("answers from the cache, half of the questions at least", wanted // 2, run["answered"])
    return Proof("questions seen", wanted, wanted)


def _find(pair: FusePair, name: str, files: int) -> dict[str, Any]:
    words = ["find", str(pair.mount), "-type", "f", "-size", "-1000c", "-printf", "."]
    child = pair.stage_client(name, words)
    if pair.loader:
        tell(pair.loader, f"client {child.pid}", "OK client", START_DEADLINE)
        tell(pair.loader, "reset", "OK reset", START_DEADLINE)
    start = time.monotonic()
    child.send("go")
    exit = child.wait(WITHIN)
    seconds = time.monotonic() - start
    if not exit.ok:
        raise Invalid(f"{child} {exit}\n{child.tail()}")
    found = child.out.read_bytes().partition(b"\n")[2].count(b".")
    if found != files:
        raise Invalid(f"find has found {found} files of {files}")
    pair.cpu += exit.user + exit.system
    counters = tell(pair.loader, "read", "COUNTERS", START_DEADLINE) if pair.loader else {}
    asked, answered = (sum(counters.get(one, 0) for one in names) for names in (("stat_hits", "stat_misses"), ("stat_hits",)))
    return {"seconds": round(seconds, 6), "asked": asked, "answered": answered, "listings": counters.get("list_hits", 0)}
