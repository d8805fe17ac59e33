"""A small package of its own for each test, built by the real compilers."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfbench.model.types import Artefact, Location, Package

PROGRAM = "src/main.c"
OBJECT = "src/probe.bpf.c"
MAIN = '#include <stdio.h>\n#include "answer.h"\nint main(void)\n{\n\treturn ANSWER;\n}\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "src").mkdir(parents=True)
    (root / "src/answer.h").write_text("#define ANSWER 42\n")
    (root / PROGRAM).write_text(MAIN)
    (root / OBJECT).write_text('__attribute__((section("uprobe"), used)) int probe(void)\n{ return 0; }\n')
    return root


@pytest.fixture
def package() -> Package:
    return Package(
        "thing", "A thing", "workload", Location("specs/packages/thing.yaml", 1, 1), inputs=("src",),
        artefacts=(
            Artefact("bin/main", "executable", (PROGRAM,)),
            Artefact("probe.bpf.o", "bpf-object", (OBJECT,)),
        ),
    )


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is learnt about the compilers, once for all tests."""
    return tmp_path_factory.mktemp("toolchain")


@pytest.fixture
def path_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make PATH a directory with links to the named programs only; return the directory."""

    def make(*names: str) -> Path:
        directory = tmp_path / "bin"
        directory.mkdir(exist_ok=True)
        for name in names:
            found = shutil.which(name)
            assert found, f"{name} is needed by this test"
            (directory / name).symlink_to(found)
        monkeypatch.setenv("PATH", str(directory))
        return directory

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without compilers there is nothing to test here; the reason says which one is missing."""
    missing = [name for name in ("gcc", "clang", "ld") if shutil.which(name) is None]
    for item in items:
        if missing and {"checkout", "cache"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))
