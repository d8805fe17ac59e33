"""What a killed run left goes, also where that run had not got far enough to be known."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from bpfbench.commands.cleaning import clean_up
from bpfbench.layout import Layout


@pytest.mark.parametrize("killed", [False, True])
def test_temporary_files_go_whether_or_not_a_kill_is_known(tmp_path, killed):
    layout = Layout.of(tmp_path)
    gone = [layout.state / ".lock.0123456789ab.tmp", layout.state / "toolchain" / ".files.json.4194304.7.tmp"]
    kept = [layout.state / "lock", layout.state / f".cache.{os.getpid()}", layout.state / "toolchain" / "files.json"]
    for path in [*gone, *kept]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    clean_up(SimpleNamespace(layout=layout, mark="bpfbench-test-cleaning"), killed=killed)
    assert [path for path in [*gone, *kept] if path.exists()] == kept
