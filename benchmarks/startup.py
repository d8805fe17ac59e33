"""What our task file adds to doit itself: ratios of wall times, from one interleaved run.

    .venv/bin/python benchmarks/startup.py [ROUNDS]

1. Here, against doit on an empty task file: ``doit list`` (to reach: at most 2), ``doit`` with nothing to do (at most 2.5).
2. With 1,000 generated experiments, against doit on as many trivial tasks: ``doit list``, ``doit list -s`` while nothing is measured,
   ``doit list -s`` and ``doit`` once everything is (at most 3 each).

Everything happens in temporary copies of this checkout and of doit. Plain doit runs in an environment that holds doit alone, so
that our own plug-ins cost it nothing. ``uprobe`` is really measured, on the native arm for a second (``arms=native cases=uprobe``);
that needs the compilers, no root and no BPF. The samples, results and figures of its copies are copies of its own, realised in the
store and put in place like any other.

Rounds go through all commands in turn, so that drift hits all of them alike. A ratio is the median of the rounds' own ratios,
with its 95 % interval (order statistics, no assumption about the distribution). Nothing is asserted.
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("bpfbench", "tasks", "specs", "schemas", "workloads", "embedded", "requirements", "dodo.py", "pyproject.toml")
MANY = 1000
MEASURED = ("arms=native", "cases=uprobe", "budget=1s", "noise=accept")
EMPTY = "def task_nothing():\n    return {'actions': []}\n"


def main(rounds: int) -> None:
    """Print the ratios."""
    with tempfile.TemporaryDirectory(prefix="bpfbench-startup-") as folder:
        place = Path(folder)
        ours, plain = ours_in(place / "ours"), plain_in(place / "plain")
        small, many = checkout(place / "small"), checkout(place / "many", MANY)
        empty, trivial = task_file(place / "empty", EMPTY), task_file(place / "trivial", trivial_tasks(many, ours))
        run(ours, small, *MEASURED, check=True)
        measured = place / "measured"
        shutil.copytree(many, measured)
        measure(ours, measured)
        print(f"with {MANY} experiments more: {'each once, after a change of a spec:':<40}", end=" ")
        print(f"list -s {first_look(ours, measured, 'list', '-s'):.2f} s, nothing to do {first_look(ours, measured):.2f} s")
        commands = {
            "list": (ours, small, ("list",), (plain, empty, ("list",))),
            "nothing to do": (ours, small, MEASURED, (plain, empty, ())),
            "list of many": (ours, many, ("list",), (plain, trivial, ("list",))),
            "status of many, unmeasured": (ours, many, ("list", "-s"), (plain, trivial, ("list", "-s"))),
            "status of many, measured": (ours, measured, ("list", "-s", *MEASURED), (plain, trivial, ("list", "-s"))),
            "nothing to do of many": (ours, measured, MEASURED, (plain, trivial, ())),
        }
        ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, (python, where, arguments, other) in commands.items():
                pair = run(python, where, *arguments, check=True), run(other[0], other[1], *other[2], check=True)
                if number:  # before that the caches of specs, code and doit were filled
                    ratios[name].append(pair)
        for name, pairs in ratios.items():
            tell(name, pairs)


def measure(ours: Path, many: Path) -> None:
    """Bring a checkout with many experiments into the state in which all of them are measured."""
    run(ours, many, "figure_uprobe", *MEASURED, check=True)
    copies = [str(ours), str(Path(__file__).with_name("measured_copies.py")), *MEASURED]
    subprocess.run(copies, cwd=many, check=True, env={"PATH": os.environ["PATH"], "HOME": str(many), "PYTHONPATH": str(many)})
    out = doit(ours, many, *MEASURED).stdout
    if not out.startswith("nothing to do"):
        sys.exit(f"the copies do not count as measured:\n{out}")


def first_look(ours: Path, many: Path, *arguments: str) -> float:
    """Return the seconds of a call that can remember no verdict."""
    spec = many / "specs" / "profiles.yaml"
    spec.write_text(spec.read_text() + "#\n")
    run(ours, many, "list", check=True)  # reads the specs again
    return run(ours, many, *arguments, *MEASURED, check=True)


def tell(name: str, pairs: list[tuple[float, float]]) -> None:
    """Print one ratio."""
    ratios = sorted(ours / plain for ours, plain in pairs)
    low, high = interval(len(ratios))
    middles = [statistics.median(side) for side in zip(*pairs, strict=True)]
    told = f"{statistics.median(ratios):5.2f} × [{ratios[low]:.2f}, {ratios[high]:.2f}]"
    print(f"{name:<27} {told}   {middles[0]:.3f} s against {middles[1]:.3f} s, {len(ratios)} pairs")


def interval(count: int) -> tuple[int, int]:
    """Return which of ``count`` sorted values bound the median with at least 95 % confidence, as far as so many can."""
    low, below = 0, 2.0**-count
    while (more := below + math.comb(count, low + 1) * 2.0**-count) <= 0.025:
        low, below = low + 1, more
    return low, count - 1 - low


def run(python: Path, where: Path, *arguments: str, check: bool = False) -> float:
    """Run doit to its end and return the seconds that it took."""
    begun = time.perf_counter()
    ended = doit(python, where, *arguments)
    seconds = time.perf_counter() - begun
    if check and ended.returncode:
        sys.exit(f"doit {' '.join(arguments)} failed:\n{ended.stdout}{ended.stderr}")
    return seconds


def doit(python: Path, where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run doit to its end, in an environment of its own."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(where), "LANG": "C.UTF-8"}
    command = [str(python), "-m", "doit", *arguments]
    return subprocess.run(command, cwd=where, check=False, capture_output=True, text=True, env=environment)


def ours_in(place: Path) -> Path:
    """Return a Python that sees what this one sees, and our commands as plug-ins of doit."""
    python = environment(place)
    library = site(place)
    (library / "all.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if not list(Path(sysconfig.get_path("purelib")).glob("bpfbench-*.dist-info")):
        sys.exit("run this with the Python of .venv (./bench makes it)")
    return python


def plain_in(place: Path) -> Path:
    """Return a Python that sees doit and nothing else."""
    import doit

    python = environment(place)
    source = Path(doit.__file__).parent
    for path in [source, *source.parent.glob("doit-*.dist-info"), *source.parent.glob("cloudpickle*")]:
        shutil.copytree(path, site(place) / path.name)
    return python


def environment(place: Path) -> Path:
    """Make a virtual environment and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    return place / "bin" / "python"


def site(place: Path) -> Path:
    """Return where the packages of an environment lie."""
    return next(place.glob("lib/python*/site-packages"))


def checkout(place: Path, experiments: int = 0) -> Path:
    """Copy this checkout, with so many experiments more, each a copy of ``uprobe`` under another name."""
    place.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, place / name)
    specs = place / "specs" / "experiments"
    text = (specs / "uprobe.yaml").read_text()
    for number in range(experiments):
        (specs / f"copy{number}.yaml").write_text(text.replace("experiment: uprobe", f"experiment: copy{number}", 1))
    return place


def task_file(place: Path, text: str) -> Path:
    """Write a task file and return its directory."""
    place.mkdir()
    (place / "dodo.py").write_text(text)
    return place


def trivial_tasks(like: Path, python: Path) -> str:
    """Return a task file with as many tasks as ``like`` has, that do nothing and have nothing to do."""
    listed = subprocess.run([str(python), "-m", "doit", "list", "--all", "-q"], cwd=like, check=True, capture_output=True)
    count = len(listed.stdout.splitlines())
    return (
        "def task_many():\n"
        f"    for number in range({count}):\n"
        "        yield {'basename': f'task_{number}', 'doc': 'nothing', 'actions': [lambda: None], 'uptodate': [True]}\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
