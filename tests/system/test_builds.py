"""Packages from sources, from doit's side: overrides, early cut-off, sources out of reach, sudo, two at once.

The packages are as small as packages can be; that the real ones are built is shown by test_packages.py.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bpfbench.store.tree import delete

from .bad_luck import NOBODY, Checkout, as_nobody, give_to
from .packages import ROOT, python

MISSING = [name for name in ("gcc", "make") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

SOURCE = """\
source: {name}
title: A small program
reference: "1"
origins:
  - method: archive
    url: https://localhost:{port}/{name}-{{reference}}.tar.gz
    sha256: "{digest}"
"""
LIBRARY = """\
package: library
title: A library
recipe: make
sources: [library]
needs: [gcc, make]
options:
  outputs:
    include/: library/word.h
"""
PROGRAM = """\
package: program
title: A program
recipe: make
sources: [program]
depends: [library]
needs: [gcc, make]
options:
  arguments: ["WHERE={package:library}"]
  outputs:
    bin/program: program/program
"""
READY = """\
package: {name}
title: What stands on no other
recipe: make
sources: [library]
needs: [make]
options:
  arguments: [all]
  outputs:
    include/: library/word.h
"""
FILES = {
    "library": {"word.h": '#define WORD "one"\n', "Makefile": "all:\n\t@echo making the library\n"},
    "program": {
        "main.c": "#include <stdio.h>\n#include <word.h>\nint main(void)\n{\n\treturn !puts(WORD);\n}\n",
        "Makefile": "program: main.c\n\tgcc -I$(WHERE)/include -o $@ main.c\n",
    },
}


class Small:
    """A checkout with two packages of others, and their sources beside it."""

    def __init__(self, place: Path) -> None:
        self.place, self.root, self.sources = place, place / "checkout, ü", place / "sources"
        self.root.mkdir()
        for name in ("bpfbench", "tasks", "schemas"):
            shutil.copytree(ROOT / name, self.root / name)
        shutil.copy(ROOT / "dodo.py", self.root)
        for name in ("packages", "sources"):
            (self.root / "specs" / name).mkdir(parents=True)
        for name in ("system.yaml", "profiles.yaml"):
            shutil.copy(ROOT / "specs" / name, self.root / "specs")
        profiles = self.root / "specs" / "profiles.yaml"
        profiles.write_text(_without_experiments(profiles.read_text()))
        self.package("library").write_text(LIBRARY)
        self.package("program").write_text(PROGRAM)
        for name, files in FILES.items():
            self.write_source(name, 1)
            for file, text in files.items():
                (self.sources / name).mkdir(parents=True, exist_ok=True)
                (self.sources / name / file).write_text(text)

    def package(self, name: str) -> Path:
        return self.root / "specs/packages" / f"{name}.yaml"

    def write_source(self, name: str, port: int) -> None:
        text = SOURCE.format(name=name, port=port, digest="0" * 64)
        (self.root / f"specs/sources/{name}.yaml").write_text(text)

    @property
    def overrides(self) -> list[str]:
        return [f"override.{name}={self.sources / name}" for name in FILES]

    def doit(self, *words: str, interpreter: str | None = None, env: dict[str, str] | None = None) -> Any:
        return subprocess.run(
            [interpreter or python(), "-m", "doit", *words], cwd=self.root, timeout=600, check=False,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **(env or {})}, capture_output=True, text=True,
        )  # fmt: skip

    def succeed(self, *words: str, **options: Any) -> list[str]:
        """Run doit; return the packages that were built, by their tasks."""
        done = self.doit(*words, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        executed = [line[2:].partition(":")[0] for line in done.stdout.splitlines() if line.startswith("▶ ")]
        return [task for task in executed if task.startswith("build_")]

    def fail(self, *words: str) -> str:
        """Run doit, which must fail, in words of ours; return all that it said."""
        done = self.doit(*words)
        said: str = done.stdout + done.stderr
        assert done.returncode != 0, said
        assert "Traceback" not in said
        return said

    def tree(self, package: str) -> Path:
        item = json.loads((self.root / f".bench/pointers/build_{package}.json").read_text())["item"]
        return self.root / "vendor/store" / item / "tree"

    def says(self) -> str:
        """Run the program."""
        program = self.tree("program") / "bin/program"
        return subprocess.run([program], capture_output=True, text=True, check=True).stdout

    def lock(self, port: int, *names: str) -> None:
        """Pretend that sources were locked once, when their origins were in reach."""
        for name in names:
            self.write_source(name, port)
        place = self.root / "vendor/sources.lock.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(lock_of(port, *names))


def lock_of(port: int, *names: str) -> str:
    sources = {
        name: {
            "reference": "1", "revision": "1", "hash": "sha256-" + "A" * 43 + "=",
            "pins": [{"method": "archive", "url": f"https://localhost:{port}/{name}-1.tar.gz", "sha256": "0" * 64}],
        }
        for name in names
    }  # fmt: skip
    return json.dumps({"version": 1, "sources": sources})


def _without_experiments(text: str) -> str:
    profiles = yaml.safe_load(text)
    for profile in profiles["profiles"].values():
        profile.pop("experiments", None)
        profile.pop("params", None)
    return str(yaml.safe_dump(profiles))


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one checkout has learnt about compilers, so that not every one has to look at them."""
    return tmp_path_factory.mktemp("learnt") / "toolchain"


@pytest.fixture
def small(learnt: Path) -> Iterator[Small]:
    place = Path(tempfile.mkdtemp(prefix="bpfbench-test-"))
    place.chmod(0o755)
    made = Small(place)
    toolchain = made.root / ".bench/toolchain"
    if learnt.exists():
        shutil.copytree(learnt, toolchain)
    yield made
    if toolchain.exists() and not learnt.exists():
        shutil.copytree(toolchain, learnt)
    delete(place)


class Deaf:
    """An origin that takes every call and says nothing: out of reach, but it is known how often it was tried."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("localhost", 0))
        self.port = self.socket.getsockname()[1]
        self.calls = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self.socket.accept()
            except OSError:
                return
            self.calls += 1
            caller.close()


@pytest.fixture
def origin() -> Iterator[Deaf]:
    deaf = Deaf()
    yield deaf
    deaf.socket.shutdown(socket.SHUT_RDWR)
    deaf.socket.close()


# built


def test_local_sources_are_built_and_only_what_changed_is_built_again(small: Small) -> None:
    assert small.succeed("build_program", *small.overrides) == ["build_library", "build_program"]
    assert small.says() == "one\n"
    assert small.succeed("build_program", *small.overrides) == []
    # other sources, same output: what depends on it is not built again
    (small.sources / "library/Makefile").write_text("all:\n\t@echo with other words\n")
    assert small.succeed("build_program", *small.overrides) == ["build_library"]
    (small.sources / "library/word.h").write_text('#define WORD "two"\n')
    assert small.succeed("build_program", *small.overrides) == ["build_library", "build_program"]
    assert small.says() == "two\n"


def test_two_are_built_at_once_each_with_a_log_of_its_own(small: Small) -> None:
    """Each waits for the other, for as long as a test may take: one after the other they would fail."""
    meet = small.place / "meet"
    meet.mkdir()
    rules = f"all:\n\ttouch {meet}/$(ME); for i in $$(seq 1200); do test -e {meet}/$(YOU) && exit; sleep 0.1; done; exit 1\n"
    (small.sources / "library/Makefile").write_text(rules)
    for me, you in (("left", "right"), ("right", "left")):
        text = READY.format(name=me).replace("[all]", f"[ME={me}, YOU={you}, all]")
        small.package(me).write_text(text)
    done = small.succeed("-n", "2", "build_left", "build_right", small.overrides[0])
    assert set(done) == {"build_left", "build_right"}
    for me in ("left", "right"):
        (log,) = (small.root / f".bench/logs/build_{me}").glob("*-make.out")
        assert f"touch {meet}/{me}" in log.read_text()


@pytest.mark.parametrize(("memory", "least"), [("1", None), ("1000000", "-j1")])
def test_jobs_are_bounded_by_memory_and_cpus(memory: str, least: str | None, small: Small) -> None:
    (small.sources / "library/Makefile").write_text("all:\n\techo 'is $(filter -j%,$(MAKEFLAGS))' > flags\n")
    text = LIBRARY.replace("options:", f"options:\n  memory: {memory}")
    small.package("library").write_text(text + "    flags: library/flags\n")
    small.succeed("build_library", small.overrides[0])
    flag = (small.tree("library") / "flags").read_text().split()[1]
    assert flag == (least or f"-j{len(os.sched_getaffinity(0))}")
    manifest = json.loads((small.tree("library").parent / "manifest.json").read_text())
    assert f"-j{manifest['meta']['jobs']}" == flag


def test_a_failing_build_says_why_where_and_how_to_repeat_it_and_leaves_nothing(small: Small) -> None:
    (small.sources / "program/main.c").write_text("int main(void)\n{\n\treturn undeclared;\n}\n")
    said = small.fail("build_program", *small.overrides)
    assert "'undeclared' undeclared" in said.replace("‘", "'").replace("’", "'")
    assert "./bench build_program" in said
    logs = list((small.root / ".bench/logs/build_program").glob("*-make.out"))
    assert len(logs) == 1
    assert str(logs[0]) in said
    assert not list((small.root / "vendor/store").glob(".making-*"))
    # what was shown is all that it takes, once that is mended
    (small.sources / "program/main.c").write_text(FILES["program"]["main.c"])
    assert small.succeed("build_program", *small.overrides) == ["build_program"]


# not built


def test_a_source_out_of_reach_fails_only_what_was_asked_for(small: Small, origin: Deaf) -> None:
    small.lock(origin.port, "library", "program")
    said = small.fail("build_library")
    assert "library: no origin is in reach" in said
    assert "override.library=/path" in said
    assert "build_program" not in said
    assert not list((small.root / "vendor/store").glob("*-library"))


def test_what_is_named_is_tried_again_with_all_that_it_is_made_from(small: Small, origin: Deaf) -> None:
    small.lock(origin.port, "library", "program")
    small.fail("build_library")
    before = origin.calls
    assert before > 0
    small.fail("build_program")
    assert origin.calls > before
    before = origin.calls
    small.fail("build_program", small.overrides[1])
    assert origin.calls > before, "the library's source too"
    before = origin.calls
    assert small.succeed("build_program", *small.overrides) == ["build_library", "build_program"]
    assert origin.calls == before


def test_an_unlocked_source_names_the_command_that_locks_it(small: Small) -> None:
    assert "./bench lock library" in small.fail("build_library")


# experiments with packages that cannot be built


def without_a_source(checkout: Checkout, package: str, port: int) -> None:
    """Let a package of the checkout need a source that is out of reach."""
    spec = checkout.spec(f"packages/{package}.yaml")
    spec.write_text(spec.read_text() + "sources: [gone]\n")
    checkout.spec("sources").mkdir(exist_ok=True)
    checkout.spec("sources/gone.yaml").write_text(SOURCE.format(name="gone", port=port, digest="0" * 64))
    (checkout.root / "vendor").mkdir(exist_ok=True)
    (checkout.root / "vendor/sources.lock.json").write_text(lock_of(port, "gone"))


def test_an_experiment_whose_package_cannot_be_built_is_unsupported_and_found_out_once(
    bare: Checkout, another: Callable[[Checkout], Checkout], origin: Deaf
) -> None:
    checkout = another(bare)
    without_a_source(checkout, "uprobe", origin.port)
    done = checkout.succeed(noise=False)
    assert set(checkout.statuses().values()) == {"unsupported"}
    cell = checkout.cell("entry", "native")
    assert "its source gone is out of reach: archive https://localhost" in cell["reason"]
    assert cell["metrics"] == {}
    assert "unsupported" in done.out
    calls = origin.calls
    assert calls > 0
    assert checkout.succeed(noise=False).executed == []
    assert origin.calls == calls


def test_an_arm_whose_package_cannot_be_built_is_unsupported_and_the_others_are_measured(
    bare: Checkout, another: Callable[[Checkout], Checkout], origin: Deaf
) -> None:
    checkout = another(bare)
    checkout.spec("packages/other.yaml").write_text(LIBRARY.replace("package: library", "package: other").replace("[library]", "[]"))
    text = checkout.spec("packages/other.yaml").read_text().replace("sources: []\n", "")
    checkout.spec("packages/other.yaml").write_text(text)
    without_a_source(checkout, "other", origin.port)
    runtime = checkout.spec("runtimes/kernel.yaml")
    runtime.write_text(runtime.read_text() + "packages: [other]\n")
    checkout.succeed()
    assert checkout.statuses() == {"entry native": "ok", "entry kernel": "unsupported"}
    reason = checkout.cell("entry", "kernel")["reason"]
    assert "its source gone is out of reach" in reason


# by somebody who calls through sudo


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be called through sudo by somebody")
def test_under_sudo_it_is_built_by_and_belongs_to_the_caller(small: Small) -> None:
    somebody = as_nobody()
    if somebody is None:
        pytest.skip("there is no interpreter that a user without rights can run")
    (small.sources / "library/Makefile").write_text("all:\n\tid -u > who; touch made\n")
    small.package("library").write_text(LIBRARY + "    who: library/who\n")
    give_to(small.place, NOBODY)
    caller = {**somebody["env"], "SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY), "SUDO_USER": "nobody"}
    small.succeed("build_library", *small.overrides, env=caller, interpreter=somebody["interpreter"])
    assert (small.tree("library") / "who").read_text() == f"{NOBODY}\n"
    owners = {path.lstat().st_uid for path in (small.root / "vendor/store").rglob("*")}
    assert owners == {NOBODY}
