"""Makes the virtual environment ``.venv``. Run by ``./bench`` before there is one: standard library alone.

``python -I -B bpfbench/bootstrap.py run INPUTS`` makes or renews it. INPUTS is what ``./bench`` compares
with the stamp ``.venv/made-for`` on every start. ``… bootstrap.py test`` adds what the tests need.

It is made under another name and moved into place whole, its stamp already inside: whoever is interrupted, at
whatever moment, leaves the former environment or the new one. A lock lets one process at a time make it.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

if __name__ == "__main__":
    # Isolated mode leaves the checkout off the path; at its end, it cannot come before the standard library.
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from bpfbench import system
from bpfbench.bytecode import compile_own
from bpfbench.errors import BenchError
from bpfbench.model.types import Requirement

STAMP = "made-for"
TEST_STAMP = "made-for-test"
PINS = "requirements/run.txt"
TEST_PINS = "requirements/test.txt"

_PIP_SETTINGS = (
    "CACHE_DIR", "CERT", "CLIENT_CERT", "CONFIG_FILE", "DEFAULT_TIMEOUT", "EXTRA_INDEX_URL", "FIND_LINKS",
    "INDEX_URL", "KEYRING_PROVIDER", "NO_CACHE_DIR", "NO_INDEX", "PROXY", "RETRIES", "TIMEOUT",
    "TRUSTED_HOST",
)  # fmt: skip
"""Pip's settings that say how packages are reached. Others would change what is installed, and where."""


_PIP_OF_WHEEL = (
    "-c",
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('pip', run_name='__main__')",
)
"""Runs the pip in the wheel that is named by the first argument."""


def make(root: Path, inputs: str) -> None:
    """Bring ``root``/.venv in line with ``inputs``, doing no more than that takes."""
    _need_venv_module()
    _be_the_invoker()
    with _only_one(root):
        if is_current(root, inputs):
            return  # by another process, while this one waited
        venv = root / ".venv"
        if _same_but_for_package(venv, inputs):
            _register(venv, root)
            _write(venv / STAMP, _stamp(venv, inputs))
        else:
            _make_anew(root, inputs)
        compile_own(root)


def add_tests(root: Path) -> None:
    """Add what the tests need to ``root``/.venv, unless it is there."""
    _be_the_invoker()
    with _only_one(root):
        venv = root / ".venv"
        if tests_are_current(root):
            return
        _say("adding what the tests need to .venv …")
        (root / ".bench" / "bootstrap.log").unlink(missing_ok=True)
        # After an interruption, pip would take a package of which it finds half for a whole one.
        unfinished = venv / f"{TEST_STAMP}.unfinished"
        again = ["--force-reinstall"] if unfinished.exists() else []
        _write(unfinished, "")
        _pip(venv, root, ["-m", "pip"], [*again, "-r", str(root / TEST_PINS)])
        _write(venv / TEST_STAMP, _test_stamp(root))
        unfinished.unlink()


def is_current(root: Path, inputs: str) -> bool:
    """Whether .venv was made for ``inputs``, by the Python that runs this if BENCH_PYTHON insists on one."""
    venv = root / ".venv"
    return _has_right_python(venv) and _read(venv / STAMP) == _stamp(venv, inputs)


def tests_are_current(root: Path) -> bool:
    """Whether the pins of requirements/test.txt are installed in .venv, as they are now."""
    return _read(root / ".venv" / TEST_STAMP) == _test_stamp(root)


def _test_stamp(root: Path) -> str:
    return hashlib.sha256((root / TEST_PINS).read_bytes()).hexdigest() + "\n"


def _stamp(venv: Path, inputs: str) -> str:
    return f"{inputs}\npython {(venv / 'bin' / 'python').resolve()}\n"


def _has_right_python(venv: Path) -> bool:
    python = venv / "bin" / "python"
    insisted = bool(os.environ.get("BENCH_PYTHON"))
    return os.access(python, os.X_OK) and (not insisted or python.resolve() == Path(sys.executable).resolve())


def _same_but_for_package(venv: Path, inputs: str) -> bool:
    """Whether only the description of our own package changed since ``venv`` was made."""

    def others(stamp: str) -> list[str]:
        package = ("pyproject.toml", "requirements/run.in")
        return [line for line in stamp.splitlines() if not line.endswith(package)]

    made_for = _read(venv / STAMP)
    return (
        made_for is not None and _has_right_python(venv) and others(made_for) == others(_stamp(venv, inputs))
    )


def _need_venv_module() -> None:
    """See to it that this Python can make virtual environments with pip in them."""
    if _can_make_environments():
        return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.base_prefix != "/usr":
        raise BenchError(
            f"{sys.executable} (Python {version}) was built without the modules venv and ensurepip",
            hint="name another Python, of 3.11 to 3.13: BENCH_PYTHON=/path/to/python3.12 ./bench",
        )
    wanted = Requirement(
        name=f"ensurepip for Python {version}",
        why="makes .venv",
        packages={"debian": (f"python{version}-venv",), "suse": (f"python{version.replace('.', '')}",)},
        file=str(Path(os.__file__).parent / "ensurepip" / "__init__.py"),
    )
    system.install([wanted], _say)
    importlib.invalidate_caches()
    if not _can_make_environments():
        raise BenchError(
            f"{sys.executable} still has no modules venv and ensurepip", hint=system.advice([wanted])
        )


def _can_make_environments() -> bool:
    return importlib.util.find_spec("venv") is not None and _pip_wheel() is not None


def _pip_wheel() -> Path | None:
    """Return the pip that comes with this Python for use in new environments."""
    spec = importlib.util.find_spec("ensurepip")
    if spec is None or spec.origin is None:
        return None
    directories = [Path(spec.origin).parent / "_bundled"]
    if elsewhere := sysconfig.get_config_var("WHEEL_PKG_DIR"):  # as distributions configure it
        directories.insert(0, Path(elsewhere))
    return next((wheel for d in directories for wheel in sorted(d.glob("pip-*.whl"))), None)


def _be_the_invoker() -> None:
    """Under sudo, go on as the user who called it, for good: nothing made from here on may belong to root."""
    uid = int(os.environ.get("SUDO_UID") or 0)
    if os.geteuid() != 0 or uid == 0:
        _end_with_parent(signal.SIGTERM)
        return
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        raise BenchError(
            f"SUDO_UID is {uid}, but there is no such user", hint="unset SUDO_UID SUDO_GID"
        ) from None
    gid = int(os.environ.get("SUDO_GID") or user.pw_gid)
    os.initgroups(user.pw_name, gid)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    _end_with_parent(signal.SIGTERM)  # only now: changing users takes it back


def _end_with_parent(by: signal.Signals) -> None:
    """Ask the kernel for the signal ``by`` when the parent of this process ends, even if it is killed."""
    ctypes.CDLL(None).prctl(1, by)  # PR_SET_PDEATHSIG


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    """Hold the lock of ``root``'s environment; say so if another process has to be waited for."""
    path = root / ".bench" / "bootstrap.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            _say(f"waiting for process {lock.read().strip() or '?'}, which is making .venv …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _make_anew(root: Path, inputs: str) -> None:
    state = root / ".bench"
    for left in state.glob("venv-*"):  # by processes that were killed: this one holds the lock
        _remove(left)
    temporary = state / f"venv-{os.getpid()}"
    try:
        _say(f"making .venv with Python {sys.version.split()[0]} and the pins in {PINS}; a while, once …")
        log = state / "bootstrap.log"
        log.unlink(missing_ok=True)
        # Without pip, as venv would start further processes for it, which could outlive a killed one.
        empty = ["-m", "venv", "--without-pip", "--prompt", "bpfbench", str(temporary)]
        if _run([sys.executable, "-I", *empty], log, os.environ) != 0:
            raise BenchError(f"{sys.executable} -m venv failed:\n{_tail(log)}", hint=f"see {log}")
        _pip(temporary, root, [*_PIP_OF_WHEEL, str(_pip_wheel())], ["-r", str(root / PINS)])
        _register(temporary, root)
        _move_scripts(temporary, root / ".venv")
        _write(temporary / STAMP, _stamp(temporary, inputs))
        _replace(root / ".venv", temporary)
    finally:
        _remove(temporary)
    _say("done")


def _pip(venv: Path, root: Path, pip: Sequence[str], arguments: Sequence[str]) -> None:
    """Let ``pip`` install pinned wheels into ``venv``, from wherever this machine's configuration says."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PIP_") or name.removeprefix("PIP_") in _PIP_SETTINGS
    }
    environment["PIP_USER"] = "0"  # over what a configuration file may say
    log = root / ".bench" / "bootstrap.log"
    command = [
        str(venv / "bin" / "python"), "-I", *pip, "--disable-pip-version-check", "--no-input",
        "install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--progress-bar", "off",
        *arguments,
    ]  # fmt: skip
    if _run(command, log, environment) == 0 and (venv / "bin" / "doit").exists():
        return
    said = log.read_text(errors="replace")
    hint = f"all that pip said is in {log}; ./bench tries again"
    if "DO NOT MATCH THE HASHES" in said:
        hint = f"the package index hands out other files than the pinned ones: find out why first ({log})"
    elif "No matching distribution" in said or "Retrying" in said:
        hint = f"is the network up, and pip's index reachable (python3 -m pip config list)? {hint}"
    raise BenchError(
        f"pip could not install the packages pinned in {arguments[-1]}:\n{_tail(log)}", hint=hint
    )


def _run(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
    """Run ``command``, its output at the end of ``log``; it ends when this process does, however that is."""
    with log.open("ab") as out:
        return subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment,
            preexec_fn=lambda: _end_with_parent(signal.SIGKILL),
        ).returncode  # fmt: skip


def _register(venv: Path, root: Path) -> None:
    """Make ``venv`` see the package in ``root``: what an editable install does, without a build tool."""
    with (root / "pyproject.toml").open("rb") as file:
        project: dict[str, Any] = tomllib.load(file)["project"]
    (packages,) = venv.glob("lib/python3.*/site-packages")
    # Relative, so that no encoding of the checkout's path matters; seen from the environment's final place.
    _write(packages / "bpfbench.pth", "../../../..\n")
    name = f"{project['name']}-{project['version']}.dist-info"
    groups: dict[str, Mapping[str, str]] = {**project.get("entry-points", {})}
    if project.get("scripts"):
        groups["console_scripts"] = project["scripts"]
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items()) + "\n"
        for group, entries in groups.items()
    )
    metadata = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    metadata += [f"Summary: {project['description']}", f"Requires-Python: {project['requires-python']}"]
    metadata += [f"Requires-Dist: {line}" for line in _requirements(root / "requirements" / "run.in")]
    files = {
        "METADATA": "\n".join(metadata) + "\n",
        "INSTALLER": "bench\n",
        "entry_points.txt": points,
        "direct_url.json": f'{{"url": "{root.as_uri()}", "dir_info": {{"editable": true}}}}\n',
    }
    recorded = ["bpfbench.pth", *(f"{name}/{file_name}" for file_name in (*files, "RECORD"))]
    files["RECORD"] = "".join(f"{path},,\n" for path in recorded)
    (packages / name).mkdir(exist_ok=True)
    for file_name, text in files.items():
        _write(packages / name / file_name, text)
    for other in packages.glob(f"{project['name']}-*.dist-info"):
        if other.name != name:
            shutil.rmtree(other)


def _requirements(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _move_scripts(made_at: Path, final: Path) -> None:
    """Make the scripts in ``made_at`` name the place that they will be moved to."""
    old, new = os.fsencode(made_at), os.fsencode(final)
    for script in [*(made_at / "bin").iterdir(), made_at / "pyvenv.cfg"]:
        if not script.is_symlink() and script.is_file():
            content = script.read_bytes()
            if old in content:
                script.write_bytes(content.replace(old, new))


def _replace(target: Path, new: Path) -> None:
    """Put ``new`` in the place of ``target``; the former one may then be found where ``new`` was."""
    if os.path.lexists(target):
        exchange = getattr(ctypes.CDLL(None), "renameat2", None)
        here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        if exchange and exchange(here, os.fsencode(new), here, os.fsencode(target), swap) == 0:
            return
        _remove(target)
    new.rename(target)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    """Write whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
    temporary.replace(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def _tail(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return "\n".join(f"    {line}" for line in errors[-6:])


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _stop(signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


def main(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` say, for the checkout that this file lies in; return the exit status."""
    root = Path(__file__).resolve().parents[1]
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    try:
        match arguments:
            case ["run", inputs]:
                make(root, inputs)
            case ["test"]:
                add_tests(root)
            case _:
                raise BenchError("bootstrap.py is started by ./bench", hint="./bench")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        user = pwd.getpwuid(os.geteuid()).pw_name
        print(f"bench: {user} may not write here: {error}", file=sys.stderr)
        print(f"  → sudo chown -R {user}: '{root}'", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bench: .venv could not be made: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
