"""The watch over what a build reads, on real programs."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bpfbench.build.invoke import Outcome, environment, invoke
from bpfbench.build.watching import Watch, is_input
from bpfbench.errors import BenchError

pytestmark = pytest.mark.system
HEADER = "/usr/include/stdio.h"


class Ground:
    """A build's directory under watch."""

    def __init__(self, place: Path, *allowed: str) -> None:
        self.place = place
        place.mkdir()
        self.watch = Watch(place / "watch", place)
        self.watch.prepare("gcc", allowed, invoke)

    def run(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        env = {**environment(), **self.watch.environment()}
        return subprocess.run(argv, cwd=self.place, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def ground(tmp_path: Path, cache: Path) -> Ground:
    return Ground(tmp_path / "a build, ü", HEADER)


def test_a_file_that_is_read_is_noted_by_its_real_name(ground: Ground) -> None:
    link = ground.place / "link.h"
    link.symlink_to(HEADER)
    assert ground.run("cat", "link.h").returncode == 0
    assert os.path.realpath(HEADER) in ground.watch.inputs()


def test_what_the_build_made_itself_is_not_noted(ground: Ground) -> None:
    (ground.place / "own.h").write_text("own")
    assert ground.run("cat", "own.h").stdout == "own"
    assert not any("own.h" in path for path in ground.watch.inputs())


def test_the_whole_tree_of_processes_is_watched(ground: Ground) -> None:
    ground.run("sh", "-c", f"sh -c 'cd / && cat {HEADER[1:]}' > copy")
    assert os.path.realpath(HEADER) in ground.watch.inputs()


def test_what_is_not_allowed_is_not_there(ground: Ground) -> None:
    done = ground.run("cat", "/usr/include/stdlib.h")
    assert "No such file" in done.stderr
    assert ground.watch.hidden() == {"/usr/include/stdlib.h"}
    assert "/usr/include/stdlib.h" not in ground.watch.inputs()


def test_a_link_does_not_lead_around_it(ground: Ground) -> None:
    (ground.place / "innocent").symlink_to("/usr/include/stdlib.h")
    assert ground.run("cat", "innocent").returncode != 0


def test_each_name_in_a_long_list_is_found_and_no_other(tmp_path: Path, cache: Path) -> None:
    names = sorted(str(path) for path in Path("/usr/include").glob("*.h") if not path.is_symlink())
    allowed = names[::2]
    ground = Ground(tmp_path / "build", *allowed)
    ground.run("cat", *names)
    assert ground.watch.inputs() == set(allowed)
    assert ground.watch.hidden() == set(names) - set(allowed)


def test_programs_that_run_at_once_do_not_mix(ground: Ground) -> None:
    ground.run("sh", "-c", f"for i in $(seq 40); do (cat {HEADER} {HEADER} > /dev/null) & done; wait")
    lines = (ground.place / "watch" / "log").read_text().splitlines()
    wanted = f"read\tcat\t{os.path.realpath(HEADER)}"
    assert lines.count(wanted) == 80
    assert all(line.count("\t") == 2 for line in lines)


def test_compilers_are_seen_whole(tmp_path: Path, cache: Path) -> None:
    ground = Ground(tmp_path / "build")
    (tmp_path / "build/main.c").write_text("#include <stdio.h>\nint main(void)\n{\n\treturn 0;\n}\n")
    (tmp_path / "build/watch/allowed").unlink()
    assert ground.run("gcc", "main.c", "-o", "main").returncode == 0
    read = ground.watch.inputs()
    listed = invoke(["gcc", "-M", "main.c"], tmp_path / "build").out.replace("\\\n", " ").split()[1:]
    headers = {os.path.realpath(path) for path in listed if path.startswith("/")}
    assert headers <= read
    assert any(path.endswith("/libc.so.6") for path in read)
    assert any(path.endswith("crt1.o") for path in read)


def test_a_watch_that_sees_nothing_is_noticed(ground: Ground) -> None:
    def blind(argv: Sequence[str]) -> Outcome:
        return invoke(argv, ground.place)

    with pytest.raises(BenchError, match="cannot be watched"):
        ground.watch.check(HEADER, blind)


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("/usr/include/zlib.h", True),
        ("/usr/include/c++/12/vector", True),
        ("/usr/lib/x86_64-linux-gnu/libz.so.1.2.13", True),
        ("/usr/share/pkgconfig/udev.pc", True),
        ("/opt/thing/include/thing.h", True),
        ("/usr/share/cmake-3.25/Modules/FindZLIB.cmake", False),
        ("/usr/lib/python3/dist-packages/mesonbuild/x.so", False),
        ("/usr/share/locale/de/LC_MESSAGES/gcc.mo", False),
        ("/etc/passwd", False),
    ],
)
def test_which_files_can_change_an_output(path: str, counts: bool) -> None:
    assert is_input(path) == counts
