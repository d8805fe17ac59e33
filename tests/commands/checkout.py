"""A checkout of its own in which doit can be run: the real specs, task file and workloads, and our code as it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SPECS = ("profiles.yaml", "system.yaml", "packages/uprobe.yaml", "runtimes/native.yaml", "runtimes/kernel.yaml")

EXPERIMENT = """\
experiment: NAME
title: A small experiment
description: For tests of commands.
driver: probe_pair
packages: [uprobe]
baseline: native
arms: [native, kernel]
metrics:
  - {metric: time, title: time per call, unit: ns, per: call, direction: lower, primary: true}
  - {metric: time_mean, title: mean time per call, unit: ns, per: call, direction: lower}
groups:
  - {group: hooks, title: The probe itself}
cases:
  - case: uprobe
    title: uprobe
    group: hooks
    attaches: [uprobe]
    params: {function: bench_push, first_instruction: push, attach: [uprobe:at_entry:bench_push]}
  - case: uretprobe
    title: uretprobe
    group: hooks
    attaches: [uretprobe]
    params: {function: bench_push, first_instruction: push, attach: [uretprobe:at_return:bench_push]}
"""

AUDIT = '''
import os, sys
def hook(event, arguments, quiet=("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system")):
    if event in quiet:
        with open(os.environ["BPFBENCH_TEST_AUDIT"], "a") as out:
            out.write(f"{event} {arguments}\\n")
if "BPFBENCH_TEST_AUDIT" in os.environ:
    sys.addaudithook(hook)
'''


class Checkout:
    """Specs, schemas, task file and workloads of this checkout, in a directory of its own; our code is shared."""

    def __init__(self, root: Path) -> None:
        self.root, self.source = root, ROOT
        for name in ("schemas", "tasks", "workloads/common", "workloads/uprobe", "requirements"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in SPECS:
            (root / "specs" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "specs" / name, root / "specs" / name)
        self._forget_other_experiments()
        self.experiment("uprobe")
        shutil.copy(ROOT / "dodo.py", root / "dodo.py")
        (root / "bpfbench").symlink_to(ROOT / "bpfbench")
        self.plugins = root / "plugins"
        self._install()

    def _forget_other_experiments(self) -> None:
        """Leave out of the profiles what is meant for experiments that are not here."""
        path = self.root / "specs" / "profiles.yaml"
        path.write_text(re.sub(r"^( +)experiments:\n(?:\1 +\S.*\n)+", "", path.read_text(), flags=re.MULTILINE))

    def experiment(self, name: str) -> None:
        """Write a small experiment: one case, on the native and the kernel arm."""
        path = self.root / "specs" / "experiments" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(EXPERIMENT.replace("NAME", name))

    def _install(self) -> None:
        """Let doit find our commands also where the package is not installed."""
        entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
        info = self.plugins / "bpfbench-0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bpfbench\nVersion: 0\n")
        lines = [line for group, names in entries.items() for line in (f"[{group}]", *(f"{n} = {v}" for n, v in names.items()))]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (self.plugins / "sitecustomize.py").write_text(AUDIT)

    def doit(
        self, *arguments: str, cwd: Path | None = None, python: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run doit there, as if typed in ``cwd``, and return how it ended."""
        given = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        path = f"{self.plugins}:{ROOT}"
        environ = {**given, "BENCH_CWD": str(cwd or self.root), "PYTHONPATH": path, **environment}
        command = [sys.executable, *python, "-m", "doit", *arguments]
        return subprocess.run(command, check=False, cwd=self.root, env=environ, capture_output=True, text=True, timeout=600)

    def edit(self, name: str, before: str, after: str) -> None:
        """Replace ``before``, which must be there, by ``after`` in a file."""
        path = self.root / name
        text = path.read_text()
        assert before in text, f"{before!r} is not in {name}"
        path.write_text(text.replace(before, after))
