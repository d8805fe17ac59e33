"""Well-known programs that tests probe: root on Debian gets them installed, and no service is started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpfbench import system
from bpfbench.errors import BenchError
from bpfbench.model.types import Requirement

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
POLICY = Path("/usr/sbin/policy-rc.d")


@contextmanager
def no_services() -> Iterator[None]:
    """Have packages start nothing while they are installed (Debian Policy 9.3.3.1: invoke-rc.d asks this file)."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def program(name: str, package: str) -> str:
    """Return a program's path; skip the test where it is missing and cannot be installed."""
    found = shutil.which(name, path=PATH)
    if found is None:
        wanted = Requirement(name, "a program to be probed", {"debian": (package,)}, command=name)
        try:
            if os.geteuid() != 0:
                raise BenchError(f"{name} is not installed")
            with no_services():
                system.install([wanted], print)
        except BenchError as error:
            pytest.skip(f"{package} cannot be installed here: {error}")
        found = shutil.which(name, path=PATH)
    assert found
    return found
