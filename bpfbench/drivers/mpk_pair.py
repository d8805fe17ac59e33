"""Driver for memory behind a protection key: probed functions, as ``probe_pair``, on arms that say they protect their memory.

A runtime that cannot have a key tends to go on without one and look fast. An arm whose runtime requires ``pku`` is therefore looked at
in the target's own memory map, as the kernel tells it: its mapping of the shared memory must have a key other than 0; any other arm's
must have none. And its agent must have tried to write there without the key, and say in its status that this key made the write fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bpfbench.drivers.evidence import Evidence
from bpfbench.drivers.pair import Invalid, PairDriver
from bpfbench.drivers.probe_pair import ProbePair
from bpfbench.process.identity import privileged


def create() -> PairDriver:
    """Return a driver for one run."""
    return PairDriver(MpkPair)


class MpkPair(ProbePair):
    """See the module."""

    def describe(self, ready: Mapping[str, Any]) -> dict[str, Any]:
        """Return the key that was seen, beside what ``probe_pair`` tells."""
        return {**super().describe(ready), "protection_key": self._key}

    def met(self, ready: Mapping[str, Any]) -> None:
        """See that a protected arm is protected, and one that is not has no key. Raises ``Invalid``."""
        super().met(ready)
        assert self.victim is not None
        with privileged():  # under sudo, the process is root's and we are not
            smaps = Path(f"/proc/{self.victim.pid}/smaps").read_text(errors="replace")
        self._key = key_of(smaps, self.segment)
        protected = "pku" in self.cell.runtime.requires
        if protected and not self._key:
            raise Invalid("not protected: the target's mapping of the shared memory has no protection key")
        if not protected and self._key:
            raise Invalid(f"protected: the target's mapping of the shared memory has the key {self._key}")

    def evidence(self) -> Evidence:
        """Return what is proved: of a protected arm, also that a forbidden write faulted."""
        proved, runtime = super().evidence(), self.cell.runtime
        if "pku" not in runtime.requires or proved.wrong or not runtime.status:
            return proved
        with privileged():
            told = json.loads(Path(runtime.status.replace("{work}", str(self.work))).read_bytes()).get("protection")
        return replace(proved, details={**proved.details, "protection": told}, wrong=unprotected(told, self._key))

    _key: int | None = None


def unprotected(told: Any, key: int | None) -> str | None:
    """Return what is wrong with what an agent says of its protection, None if nothing is; ``key``: the one that the kernel shows."""
    if not isinstance(told, dict):
        return "not protected: the agent's status says nothing of a key"
    if told.get("key") != key:
        return f"the agent's key is {told.get('key')}, the kernel shows {key}"
    if told.get("forbidden_write") != "faulted":
        return "not protected: the agent has not seen a forbidden write fault"
    return None


def key_of(smaps: str, name: str) -> int | None:
    """Return the protection key of the mappings whose path contains ``name`` (the least, if they differ); None: there are none.

    Where the kernel tells no keys at all they count as 0: nothing is protected.
    """
    keys, inside = [], False
    for line in smaps.splitlines():
        if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
            inside = name in line
            if inside:
                keys.append(0)
        elif inside and line.startswith("ProtectionKey:"):
            keys[-1] = int(line.split()[1])
    return min(keys) if keys else None
