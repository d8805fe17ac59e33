"""What our task file adds to doit itself: three ratios of wall times, from one interleaved run.

    .venv/bin/python benchmarks/startup.py [ROUNDS]

1. ``doit list`` here against ``doit list`` on an empty task file (to reach: at most 2).
2. ``doit`` with nothing to do against ``doit`` on an empty task file (at most 2.5).
3. ``doit list`` with 1,000 generated experiments against ``doit list`` on as many trivial tasks, and the same for
   ``doit plan``-like up-to-date checks (``doit list -s``) (at most 3).

Everything happens in temporary copies of this checkout and of doit. Plain doit runs in an environment that holds doit alone, so
that our own plug-ins cost it nothing. The up-to-date tree is made by really measuring the native arm for a second
(``arms=native cases=uprobe``); that needs the compilers, no root and no BPF. Nothing is asserted: numbers are for people, and
for notes on a machine that is quiet. Rounds go through all commands in turn, so that drift hits all of them alike; a
ratio is that of medians, and the spread is the middle half of the rounds' own ratios.
"""

from __future__ import annotations

import os
import shutil
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
        commands = {
            "list": (ours, small, ("list",)), "plain list": (plain, empty, ("list",)),
            "nothing to do": (ours, small, MEASURED), "plain nothing to do": (plain, empty, ()),
            "list of many": (ours, many, ("list",)), "plain list of many": (plain, trivial, ("list",)),
            "status of many": (ours, many, ("list", "-s")), "plain status of many": (plain, trivial, ("list", "-s")),
        }  # fmt: skip
        for python, where, arguments in commands.values():  # caches of specs, code and doit are warm afterwards
            run(python, where, *arguments)
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, (python, where, arguments) in commands.items():
                taken[name].append(run(python, where, *arguments))
        for name in commands:
            if not name.startswith("plain"):
                tell(name, taken[name], taken[f"plain {name}"])


def tell(name: str, ours: list[float], plain: list[float]) -> None:
    """Print one ratio."""
    middle, of = quantile(ours, 0.5), quantile(plain, 0.5)
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    spread = f"({quantile(ratios, 0.25):.2f} to {quantile(ratios, 0.75):.2f})"
    print(f"{name:<16} {middle / of:5.2f} × {spread}   {middle:.3f} s against {of:.3f} s")


def quantile(values: list[float], part: float) -> float:
    """Return the value below which ``part`` of all lie (the nearest that is there)."""
    return sorted(values)[round(part * (len(values) - 1))]


def run(python: Path, where: Path, *arguments: str, check: bool = False) -> float:
    """Run doit to its end and return the seconds that it took."""
    begun = time.perf_counter()
    ended = subprocess.run(
        [str(python), "-m", "doit", *arguments], cwd=where, check=False, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(where), "LANG": "C.UTF-8"},
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    if check and ended.returncode:
        sys.exit(f"doit {' '.join(arguments)} failed:\n{ended.stdout}{ended.stderr}")
    return seconds


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
