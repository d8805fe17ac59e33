from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bpfbench.model import cache
from bpfbench.model.cache import FORMAT, cache_file, load_cached
from bpfbench.model.problems import SpecErrors

PROBE = "specs/experiments/probe.yaml"
ROOT = Path(__file__).parents[2]

HEAVY = """
import sys
from pathlib import Path
from bpfbench.layout import Layout
from bpfbench.model.cache import load_cached
model = load_cached(Layout.of(Path(sys.argv[1])))
assert [case.name for case in model.experiments["probe"].cases] == ["empty", "read"]
heavy = {"yaml", "jsonschema", "difflib", "hashlib", "numpy", "matplotlib", "git", "rich"}
print(*sorted(heavy & set(sys.modules)))
"""


@pytest.fixture
def loads(monkeypatch):
    """Count how often specs are really read."""
    import bpfbench.model.load as module

    calls = []
    real = module.load_with_evidence

    def counted(layout):
        calls.append(layout)
        return real(layout)

    monkeypatch.setattr(module, "load_with_evidence", counted)
    return calls


def settle(tree) -> None:
    """Make every spec look as if it had been written long ago, as it is in life."""
    past = time.time() - 3600
    for path in [*tree.root.rglob("specs/**/*"), *tree.root.rglob("schemas/*")]:
        os.utime(path, (past, past))


def warm(tree, monkeypatch) -> None:
    """Fill the cache, with stamps that count as settled."""
    settle(tree)
    monkeypatch.setattr(cache, "SETTLED", -(10**12))
    load_cached(tree.layout)


def test_the_cached_model_is_the_loaded_model(tree, loads):
    cold = load_cached(tree.layout)
    again = load_cached(tree.layout)
    assert len(loads) == 1
    assert again == cold == tree.load()
    assert repr(again.experiments["probe"]) == repr(cold.experiments["probe"])
    assert list(again.profiles) == list(cold.profiles)


def test_an_unchanged_tree_is_loaded_by_stamps_alone(tree, loads, monkeypatch):
    warm(tree, monkeypatch)
    monkeypatch.setattr(cache, "_hash", lambda *_: pytest.fail("content was looked at"))
    load_cached(tree.layout)
    assert len(loads) == 1


def test_an_unchanged_tree_needs_neither_yaml_nor_jsonschema(tree, monkeypatch):
    warm(tree, monkeypatch)
    assert run_heavy(tree) == ""


def test_specs_that_were_just_written_need_no_yaml_either(tree):
    load_cached(tree.layout)
    assert run_heavy(tree) == "hashlib"


def run_heavy(tree) -> str:
    command = [sys.executable, "-c", HEAVY, str(tree.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("settled", [False, True])
def test_a_change_is_seen_even_with_the_same_size_and_modification_time(tree, loads, monkeypatch, settled):
    if settled:
        warm(tree, monkeypatch)
    else:
        load_cached(tree.layout)
    stat = (tree.root / PROBE).stat()
    tree.change(PROBE, "What a probe costs", "What a prune costs")
    os.utime(tree.root / PROBE, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load_cached(tree.layout).experiments["probe"].description == "What a prune costs"
    assert len(loads) == 2


def test_a_file_written_twice_in_a_moment_is_not_taken_for_settled(tree, monkeypatch):
    """Equal stamps prove nothing while the clock of the file system may not have moved."""
    monkeypatch.setattr(cache, "SETTLED", 10**13)
    load_cached(tree.layout)
    stamps = json.loads(cache_file(tree.layout).read_bytes().split(b"\n")[1])
    assert stamps[PROBE] == []


def test_touched_and_copied_files_are_recognised_by_content(tree, loads, monkeypatch):
    warm(tree, monkeypatch)
    copy = (tree.root / PROBE).read_bytes()
    (tree.root / PROBE).unlink()
    tree.write(PROBE, copy)
    load_cached(tree.layout)
    assert len(loads) == 1
    monkeypatch.setattr(cache, "_hash", lambda *_: pytest.fail("the new stamps were not kept"))
    load_cached(tree.layout)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.write("specs/runtimes/other.yaml", tree.read("specs/runtimes/native.yaml")),
        lambda tree: (tree.root / "specs/packages/shim.yaml").unlink(),
        lambda tree: (tree.root / "specs/packages/shim.yaml").rename(tree.root / "specs/packages/shin.yaml"),
        lambda tree: (tree.root / "bpfbench/drivers/probe_pair.py").unlink(),
        lambda tree: (tree.root / "workloads/probe/loader.c").unlink(),
        lambda tree: tree.write("specs/experiments/more.yml", "experiment: more\n"),
        lambda tree: tree.write("specs/experiment/more.yaml", "experiment: more\n"),
        lambda tree: tree.write("schemas/source.json", "{}]"),
        lambda tree: tree.change("specs/profiles.yaml", "budget: 4m", "budget: 4"),
        lambda tree: (tree.root / "specs/system.yaml").unlink(),
    ],
)
def test_whatever_breaks_the_specs_is_seen_in_spite_of_the_cache(tree, change, monkeypatch):
    warm(tree, monkeypatch)
    change(tree)
    for _ in range(2):
        with pytest.raises(SpecErrors):
            load_cached(tree.layout)


def test_an_input_that_becomes_a_link_out_of_the_checkout_is_seen(tree, tmp_path, monkeypatch):
    warm(tree, monkeypatch)
    (tree.root / "workloads").rename(tmp_path / "workloads")
    (tree.root / "workloads").symlink_to(tmp_path / "workloads")
    with pytest.raises(SpecErrors, match="link out of the checkout"):
        load_cached(tree.layout)


def test_a_file_in_place_of_an_input_directory_is_seen(tree, loads, monkeypatch):
    warm(tree, monkeypatch)
    for path in (tree.root / "workloads/common").iterdir():
        path.unlink()
    (tree.root / "workloads/common").rmdir()
    tree.write("workloads/common", "")
    with pytest.raises(SpecErrors, match="is a file"):
        load_cached(tree.layout)


def test_new_model_code_makes_old_caches_stale(tree, loads, monkeypatch):
    warm(tree, monkeypatch)
    code = cache.code_files()
    assert {"yaml.py", "schema.py", "meaning.py", "construct.py", "cache.py"} <= code.keys()
    monkeypatch.setattr(cache, "code_files", lambda: {**code, "yaml.py": [1, 2, 3, 4]})
    monkeypatch.setattr(cache, "_hash", lambda layout, path: "another" if path.startswith("code:") else None)
    load_cached(tree.layout)
    assert len(loads) == 2


def spoil(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    return {
        "empty": b"",
        "cut short": content[:middle],
        "one line short": content.rpartition(b"\n")[0],
        "one byte": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "foreign": b"\x80\x04\x95cos\nsystem\n",
        "other format": content.replace(b"bpfbench model %d" % FORMAT, b"bpfbench model %d" % (FORMAT + 1), 1),
        "zeroes": b"\0" * len(content),
    }


@pytest.mark.parametrize("how", list(spoil(b"xx")))
def test_a_spoilt_cache_is_ignored_and_replaced(tree, loads, how):
    model = load_cached(tree.layout)
    file = cache_file(tree.layout)
    before = file.read_bytes()
    file.write_bytes(spoil(before)[how])
    assert load_cached(tree.layout) == model
    assert len(loads) == 2
    load_cached(tree.layout)
    assert len(loads) == 2


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_something_else_in_its_place_is_no_error(tree, kind):
    tree.layout.state.mkdir()
    if kind == "directory":
        cache_file(tree.layout).mkdir()
    else:
        os.mkfifo(cache_file(tree.layout))
    assert load_cached(tree.layout).default_profile == "quick"
    assert [path.name for path in tree.layout.state.iterdir()] == ["model.cache"]


def test_a_state_directory_that_cannot_be_is_no_error(tree):
    tree.layout.state.write_text("a file")
    assert load_cached(tree.layout) == tree.load()


def test_a_full_disk_leaves_the_old_cache_and_no_litter(tree, monkeypatch):
    load_cached(tree.layout)
    before = cache_file(tree.layout).read_bytes()
    tree.change(PROBE, "What a probe costs", "More")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert load_cached(tree.layout).experiments["probe"].description == "More"
    assert cache_file(tree.layout).read_bytes() == before
    assert [path.name for path in tree.layout.state.iterdir()] == ["model.cache"]


def test_broken_specs_are_not_cached(tree, loads):
    line = tree.change(PROBE, "baseline: native", "baseline: nobody")
    for _ in range(2):
        with pytest.raises(SpecErrors) as caught:
            load_cached(tree.layout)
        assert caught.value.errors[0].location.line == line
    assert not cache_file(tree.layout).exists()


def test_experiments_are_decoded_when_they_are_looked_at(tree, monkeypatch):
    load_cached(tree.layout)
    made = []
    real = cache.rows.experiment
    monkeypatch.setattr(cache.rows, "experiment", lambda row: made.append(row) or real(row))
    experiments = load_cached(tree.layout).experiments
    assert list(experiments) == ["probe"]
    assert "probe" in experiments
    assert "other" not in experiments
    assert not made
    assert experiments["probe"] is experiments["probe"]
    assert len(made) == 1
    with pytest.raises(KeyError):
        experiments["other"]
