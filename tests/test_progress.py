import time

from bpfbench.progress import INTERVAL, Progress, running


def test_a_running_task_is_seen_and_gone_when_it_ends(tmp_path):
    with Progress(tmp_path, "run_x") as progress:
        time.sleep(INTERVAL)
        progress("block 3", done=3, total=10, eta=time.time() + 60)
        (pulse,) = running(tmp_path)
        assert (pulse.task, pulse.note, pulse.done, pulse.total) == ("run_x", "block 3", 3, 10)
    assert running(tmp_path) == []


def test_rubbish_and_missing_directories_are_no_error(tmp_path):
    (tmp_path / "x.json").write_text("{")
    assert running(tmp_path) == []
    assert running(tmp_path / "none") == []
    with Progress(tmp_path / "file.txt" / "below", "x"):
        pass


def test_task_names_with_slashes_stay_below_the_directory(tmp_path):
    with Progress(tmp_path / "p", "a/../../b"):
        assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "p"]
