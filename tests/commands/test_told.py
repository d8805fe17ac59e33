"""What the end of a run tells is that of the file as it is, whether it was read or remembered."""

import json
import time

from bpfbench.commands.told import summary, told_of
from bpfbench.glance import SETTLED


def write(path, result):
    path.write_text(json.dumps(result))
    time.sleep(2.5 * SETTLED / 1e9)


def test_it_is_the_same_from_memory(tmp_path, make, monkeypatch):
    path, cache = tmp_path / "uprobe.json", tmp_path / "told.json"
    write(path, make(broken=True))
    first = told_of([path], cache)
    assert first == ([summary(make(broken=True))], [])
    monkeypatch.setattr("bpfbench.commands.told.read_result", lambda path: 1 / 0)
    assert told_of([path], cache) == first


def test_a_changed_file_is_read_again(tmp_path, make):
    path, cache = tmp_path / "uprobe.json", tmp_path / "told.json"
    write(path, {**make(), "status": "ok"})
    assert not told_of([path], cache)[0][0].failed
    write(path, {**make(), "status": "failed"})
    assert told_of([path], cache)[0][0].failed
    path.unlink()
    assert told_of([path], cache) == ([], [])


def test_a_broken_memory_is_no_memory(tmp_path, make):
    path, cache = tmp_path / "uprobe.json", tmp_path / "told.json"
    write(path, make())
    for rubbish in ("", "[]", '{"format": 1, "known": {"x": [1]}}', json.dumps({"format": 1, "known": {str(path): ["x", [1]]}})):
        cache.write_text(rubbish)
        assert told_of([path], cache) == ([summary(make())], [])


def test_what_cannot_be_read_is_a_problem_every_time(tmp_path):
    path, cache = tmp_path / "uprobe.json", tmp_path / "told.json"
    path.write_text("{")
    time.sleep(2.5 * SETTLED / 1e9)
    for _ in range(2):
        results, (problem,) = told_of([path], cache)
        assert results == []
        assert "not a readable result" in str(problem)
