"""A whole, valid tree of specs that tests change in one place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.model.problems import SpecErrors, SpecProblem
from bpfbench.model.types import Model

HERE = Path(__file__).parent
FILES = (
    "bpfbench/drivers/probe_pair.py",
    "bpfbench/drivers/server.py",
    "bpfbench/build/local.py",
    "bpfbench/build/prebuilt.py",
    "workloads/probe/program.bpf.c",
    "workloads/probe/loader.c",
    "workloads/common/shared.h",
)


class Tree:
    """A checkout with valid specs, in a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout.of(root)
        shutil.copytree(HERE / "valid" / "specs", root / "specs")
        shutil.copytree(HERE.parents[1] / "schemas", root / "schemas", ignore=shutil.ignore_patterns("driver_*", "recipe_*"))
        for name in FILES:
            self.write(name, "")

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def change(self, name: str, old: str, new: str) -> int:
        """Replace ``old``, which must be there once; return its line."""
        text = self.read(name)
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        self.write(name, text.replace(old, new))
        return text[: text.index(old)].count("\n") + 1

    def load(self) -> Model:
        return load(self.layout)

    def problems(self) -> tuple[SpecProblem, ...]:
        with pytest.raises(SpecErrors) as caught:
            load(self.layout)
        return caught.value.errors

    def problem(self) -> SpecProblem:
        """Return the one problem that the specs have."""
        problems = self.problems()
        assert len(problems) == 1, "\n".join(map(str, problems))
        return problems[0]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "checkout")
