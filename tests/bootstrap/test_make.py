"""``bootstrap.py`` for real, with small wheels of our own instead of the pinned ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bpfbench import bootstrap, system
from bpfbench.errors import BenchError

DEADLINE = 120.0
PYTHON = str(Path(sys.executable).resolve())
"""A Python that can make environments: the one behind the environment that the tests run in."""

DOIT = """
import importlib.metadata, json, os, sys
def main():
    points = [f"{p.group}:{p.name}={p.value}" for g in ("doit.COMMAND", "doit.REPORTER")
              for p in importlib.metadata.entry_points(group=g)]
    import bpfbench
    print(json.dumps({"argv": sys.argv[1:], "points": points, "bpfbench": bpfbench.__file__,
                      "prefix": sys.prefix}))
"""


def make_wheel(directory: Path, name: str, files: Mapping[str, str], version: str = "1.0") -> str:
    """Make a wheel; return the line that pins it."""
    directory.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if "main" in "".join(files.values()):
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n"
    content[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*content, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, text in content.items():
            archive.writestr(file, text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


class Real:
    """A checkout whose pins name small wheels, and a package index that is a directory."""

    def __init__(self, root: Path, checkout: Path) -> None:
        self.checkout = checkout
        self.wheels = root / "wheels"
        pip = bootstrap._pip_wheel()
        assert pip is not None
        self.wheels.mkdir()
        shutil.copy(pip, self.wheels)
        pinned = (
            f"pip=={pip.name.split('-')[1]} --hash=sha256:{hashlib.sha256(pip.read_bytes()).hexdigest()}\n"
        )
        self.pin("run", make_wheel(self.wheels, "doit", {"doit/__init__.py": DOIT}) + pinned)
        self.pin("test", make_wheel(self.wheels, "pytest", {"pytest.py": "print('pretended')\n"}))
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(root), "BENCH_PYTHON": PYTHON,
            "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": os.devnull,
        }  # fmt: skip

    def pin(self, which: str, lines: str) -> None:
        (self.checkout / "requirements" / f"{which}.txt").write_text(lines)

    @property
    def venv(self) -> Path:
        return self.checkout / ".venv"

    @property
    def bench(self) -> str:
        return str(self.checkout / "bench")

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bench, *arguments],
            env={**self.env, **env},
            text=True,
            capture_output=True,
            check=False,
            timeout=DEADLINE,
        )

    def start(self, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.bench], env={**self.env, **env}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def say(self, *arguments: str, **env: str) -> dict[str, object]:
        done = self.run(*arguments, **env)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert isinstance(said, dict)
        return said

    def no_leftovers(self) -> bool:
        return not list((self.checkout / ".bench").glob("venv-*"))


@pytest.fixture
def real(tmp_path: Path, copy_checkout: Callable[[Path], Path]) -> Real:
    return Real(tmp_path, copy_checkout(tmp_path / "a checkout"))


@contextlib.contextmanager
def silent_index() -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A package index that accepts connections and says nothing: who asks it is in the middle of things."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        yield server, {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": url, "PIP_RETRIES": "0"}


def wait_until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_made_environment_has_our_package_its_entry_points_and_scripts_that_run(real: Real) -> None:
    said = real.say("list", PYTHONPATH="/nowhere", PIP_TARGET="/nowhere", PIP_USER="1")
    assert said["argv"] == ["list"]
    assert said["bpfbench"] == str(real.checkout / "bpfbench/__init__.py")
    assert said["prefix"] == str(real.venv)
    points = said["points"]
    assert isinstance(points, list)
    assert points.count("doit.COMMAND:test=bpfbench.commands.test:Test") == 1
    assert points.count("doit.REPORTER:bench=bpfbench.commands.reporter:BenchReporter") == 1
    assert real.no_leftovers()
    # In spite of the space in its path, and of the other place where it was made.
    by_hand = subprocess.run(
        [real.venv / "bin/doit", "x"], text=True, capture_output=True, cwd="/", check=True
    )
    assert json.loads(by_hand.stdout)["prefix"] == str(real.venv)
    activated = subprocess.run(
        ["bash", "-c", '. "$0/bin/activate" && doit y', real.venv], text=True, capture_output=True, check=True
    )
    assert json.loads(activated.stdout)["argv"] == ["y"]
    # And others may use it, too.
    assert stat.S_IMODE(real.venv.stat().st_mode) & 0o555 == 0o555 & ~_umask()
    assert not [p for p in (real.venv / "bin").iterdir() if p.is_file() and b".bench/venv-" in p.read_bytes()]


def test_new_pins_replace_the_environment_whole(real: Real) -> None:
    real.say()
    (real.venv / "stray").touch()
    pins = (real.checkout / "requirements/run.txt").read_text()
    real.pin("run", make_wheel(real.wheels, "extra", {"extra.py": ""}) + pins)
    real.say()
    assert list(real.venv.glob("lib/python3.*/site-packages/extra.py"))
    assert not (real.venv / "stray").exists()
    assert real.no_leftovers()


def test_new_entry_points_are_registered_without_installing_anything(real: Real) -> None:
    real.say()
    (real.venv / "stray").touch()
    project = real.checkout / "pyproject.toml"
    text = project.read_text().replace('version = "', 'version = "7.', 1)
    project.write_text(text.replace("\ntest = ", "\nother = "))
    points = real.say(PIP_FIND_LINKS="/nowhere")["points"]
    assert isinstance(points, list)
    assert "doit.COMMAND:other=bpfbench.commands.test:Test" in points
    assert not [p for p in points if p.startswith("doit.COMMAND:test=")]
    assert (real.venv / "stray").exists()


def test_an_index_with_nothing_leaves_nothing_half_made(real: Real) -> None:
    done = real.run(PIP_FIND_LINKS="/nowhere")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "doit==1.0" in done.stderr
    assert "is the network up" in done.stderr
    assert not real.venv.exists()
    assert real.no_leftovers()
    real.say()


def test_when_new_pins_cannot_be_had_the_former_environment_stays_whole(real: Real) -> None:
    real.say()
    pins = (real.checkout / "requirements/run.txt").read_text()
    real.pin("run", pins + f"absent==1.0 --hash=sha256:{'0' * 64}\n")
    assert real.run().returncode == 1
    real.pin("run", pins)
    assert real.say(PIP_FIND_LINKS="/nowhere")["prefix"] == str(real.venv)


def test_other_bytes_than_the_pinned_ones_are_refused(real: Real) -> None:
    make_wheel(real.wheels, "doit", {"doit/__init__.py": DOIT + "# evil\n"})
    done = real.run()
    assert done.returncode == 1
    assert "hands out other files than the pinned ones" in done.stderr
    assert not real.venv.exists()


@pytest.mark.parametrize(
    ("victim", "by"), [("bench", signal.SIGKILL), ("bench", signal.SIGTERM), ("bootstrap", signal.SIGKILL)]
)
def test_killed_in_the_middle_it_leaves_nothing_running_and_is_started_over(
    real: Real, victim: str, by: signal.Signals
) -> None:
    with silent_index() as (server, env):
        bench = real.start(**env)
        connection, _ = server.accept()
        pid = bench.pid
        if victim == "bootstrap":
            (pid,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        os.kill(pid, by)
        with connection:
            connection.settimeout(DEADLINE)
            while connection.recv(65536):  # until pip has gone, with whatever else held this end open
                pass
        bench.communicate(timeout=DEADLINE)
    assert bench.returncode not in (0, None)
    assert not real.venv.exists()
    assert by == signal.SIGKILL or wait_until(real.no_leftovers)
    real.say()
    assert real.no_leftovers()


def test_of_two_at_once_one_makes_it_and_the_other_waits(real: Real) -> None:
    with silent_index() as (server, env):
        first = real.start(**env)
        connection, _ = server.accept()
        second = real.start()
        assert second.stderr is not None
        waiting = second.stderr.readline()
        assert re.fullmatch(r"bench: waiting for process \d+, which is making \.venv …\n", waiting)
        server.close()
        connection.close()  # the first one's pip now takes the wheels from the directory
    for process in (first, second):
        out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, err
        assert json.loads(out)["prefix"] == str(real.venv)
    assert "making" not in err


def test_another_python_that_is_asked_for_replaces_the_environment(real: Real) -> None:
    real.say()
    other = next((python for python in _pythons() if python != PYTHON), None)
    if other is None:
        pytest.skip("there is no second Python of 3.11 to 3.13 that can make environments")
    said = real.say(BENCH_PYTHON=other)
    assert said["prefix"] == str(real.venv)
    assert (real.venv / "bin/python").resolve() != Path(PYTHON)
    assert real.say(BENCH_PYTHON="")["prefix"] == str(real.venv)  # no wish: what is there stays
    assert (real.venv / "bin/python").resolve() != Path(PYTHON)


def _pythons() -> list[str]:
    """The Pythons of this machine that bench could use, each by its real path."""
    code = "import sys, venv, ensurepip; assert (3, 11) <= sys.version_info < (3, 14); print(sys.executable)"
    found = [PYTHON]
    for name in ("python3.13", "python3.12", "python3.11", "python3", "/usr/bin/python3"):
        path = shutil.which(name)
        if path is not None:
            done = subprocess.run([path, "-I", "-c", code], check=False, capture_output=True, text=True)
            found += [str(Path(done.stdout.strip()).resolve())] if done.returncode == 0 else []
    return list(dict.fromkeys(found))


def _can_be_run_by(python: str, user: pwd.struct_passwd) -> bool:
    command = [python, "-I", "-c", ""]
    with contextlib.suppress(PermissionError):
        return subprocess.run(command, check=False, user=user.pw_uid, group=user.pw_gid).returncode == 0
    return False


def test_under_sudo_all_belongs_to_who_called_it(copy_checkout: Callable[[Path], Path]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files for somebody else")
    nobody = pwd.getpwnam("nobody")
    python = next((python for python in _pythons() if _can_be_run_by(python, nobody)), None)
    if python is None:
        pytest.skip("this machine has no Python of 3.11 to 3.13 that others than root can run")
    base = Path(tempfile.mkdtemp())  # not tmp_path, whose parents are closed to others
    try:
        base.chmod(0o755)
        real = Real(base, copy_checkout(base / "a checkout"))
        for path in [real.checkout, *real.checkout.rglob("*")]:
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        said = real.say(SUDO_UID=str(nobody.pw_uid), SUDO_GID=str(nobody.pw_gid), BENCH_PYTHON=python)
        assert said["prefix"] == str(real.venv)
        others = [p for p in real.checkout.rglob("*") if p.lstat().st_uid != nobody.pw_uid]
        assert others == []
        assert len(list(real.venv.rglob("*"))) > 10
    finally:
        shutil.rmtree(base)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def add_tests(real: Real) -> subprocess.CompletedProcess[str]:
    command = [real.venv / "bin/python", "-I", "-B", real.checkout / "bpfbench/bootstrap.py", "test"]
    return subprocess.run(
        command, env=real.env, text=True, capture_output=True, check=False, timeout=DEADLINE
    )


def test_what_the_tests_need_is_added_once_and_again_when_its_pins_change(real: Real) -> None:
    real.say()
    assert not bootstrap.tests_are_current(real.checkout)
    done = add_tests(real)
    assert done.returncode == 0, done.stderr
    assert bootstrap.tests_are_current(real.checkout)
    assert list(real.venv.glob("lib/python3.*/site-packages/pytest.py"))
    assert add_tests(real).stderr == ""
    real.pin("test", make_wheel(real.wheels, "pytest", {"pytest.py": "new = 1\n"}, version="2.0"))
    assert not bootstrap.tests_are_current(real.checkout)
    assert add_tests(real).returncode == 0
    (installed,) = real.venv.glob("lib/python3.*/site-packages/pytest.py")
    assert installed.read_text() == "new = 1\n"


def test_adding_what_the_tests_need_starts_over_after_an_interruption(real: Real) -> None:
    real.say()
    assert add_tests(real).returncode == 0
    # As after a kill: pip believes the package to be there, but half of it is missing.
    (installed,) = real.venv.glob("lib/python3.*/site-packages/pytest.py")
    installed.unlink()
    (real.venv / bootstrap.TEST_STAMP).rename(real.venv / f"{bootstrap.TEST_STAMP}.unfinished")
    assert add_tests(real).returncode == 0
    assert installed.exists()
    assert bootstrap.tests_are_current(real.checkout)


@pytest.fixture
def bare_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text("ID=debian\n")
    monkeypatch.setattr(system, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(system, "provided", lambda _: False)
    monkeypatch.setattr(bootstrap, "_can_make_environments", lambda: False)
    monkeypatch.setattr(sys, "base_prefix", "/usr")


@pytest.mark.usefixtures("bare_debian")
def test_without_ensurepip_others_than_root_get_the_command_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_is_root", lambda: False)
    with pytest.raises(BenchError) as caught:
        bootstrap._need_venv_module()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert caught.value.hint == f"sudo apt-get install -y --no-install-recommends python{version}-venv"


@pytest.mark.usefixtures("bare_debian")
def test_a_python_that_is_not_the_systems_own_is_not_mended_by_its_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "base_prefix", "/opt/python")
    with pytest.raises(BenchError, match="was built without") as caught:
        bootstrap._need_venv_module()
    assert "BENCH_PYTHON=" in (caught.value.hint or "")
