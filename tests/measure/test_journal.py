import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.errors import BenchError
from bpfbench.measure.journal import Journal, begins_with, read


def test_what_was_appended_is_read_back_also_after_reopening(tmp_path):
    path = tmp_path / "run" / "journal.jsonl"
    with Journal(path) as journal:
        journal.append("begin", seed=1)
    with Journal(path) as journal:
        journal.append("sample", value=0.1)
    assert read(path) == [{"kind": "begin", "seed": 1}, {"kind": "sample", "value": 0.1}]


@given(st.binary(max_size=40).filter(lambda tail: b"\n" not in tail))
def test_a_torn_tail_is_passed_over_and_cut_off_before_more_is_added(tmp_path_factory, tail):
    path = tmp_path_factory.mktemp("torn") / "journal.jsonl"
    with Journal(path) as journal:
        journal.append("begin")
    with path.open("ab") as file:
        file.write(tail)
    assert [record["kind"] for record in read(path)] == ["begin"]
    with Journal(path) as journal:
        journal.append("resume")
    assert [record["kind"] for record in read(path)] == ["begin", "resume"]


def test_damage_in_the_middle_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"kind":"begin"}\nrubbish\n{"kind":"end"}\n')
    with pytest.raises(BenchError, match=r"journal.jsonl:2"):
        read(path)


def _written(path):
    with Journal(path) as journal:
        journal.append("begin", seed=123)
    with Journal(path) as journal:
        for number in range(4):
            journal.append("sample", value=number + 0.5, text="ü \u2028 {}")
    return path.read_bytes()


def test_a_changed_bit_anywhere_is_noticed(tmp_path):
    path = tmp_path / "journal.jsonl"
    data = _written(path)
    records = read(path)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        try:
            found = read(path)
        except BenchError as error:
            assert "damaged journal" in error.message
        else:
            assert found == records[: len(found)] and len(found) == 4  # the last line lost its end: torn


@pytest.mark.parametrize("lines", [[0, 2, 3, 4], [0, 1, 3, 2, 4], [0, 1, 1, 2, 3, 4], [1, 2, 3, 4]])
def test_lines_that_are_lost_doubled_or_exchanged_are_noticed(tmp_path, lines):
    path = tmp_path / "journal.jsonl"
    data = _written(path).splitlines(keepends=True)
    path.write_bytes(b"".join(data[line] for line in lines))
    with pytest.raises(BenchError, match="damaged journal"):
        read(path)


def test_a_journal_of_an_earlier_version_is_read(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"kind":"begin"}\n{"kind":"end"}\n')
    assert [record["kind"] for record in read(path)] == ["begin", "end"]


def test_records_survive_kill_9_of_the_writer(tmp_path):
    path = tmp_path / "journal.jsonl"
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom bpfbench.measure.journal import Journal\n"
        "with Journal(Path(sys.argv[1])) as j:\n    [j.append('sample', n=n) for n in range(50)]\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert [record["n"] for record in read(path)] == list(range(50))


def test_numbers_that_json_does_not_have_are_refused(tmp_path):
    with Journal(tmp_path / "j") as journal, pytest.raises(ValueError, match="JSON"):
        journal.append("sample", value=float("nan"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_with_what_to_do(tmp_path):
    with Journal(tmp_path / "j") as journal:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, journal._fd)
        os.close(full)
        with pytest.raises(BenchError, match="cannot be written") as caught:
            journal.append("sample")
    assert "finished blocks are kept" in str(caught.value)


def test_a_journal_of_another_run_or_boot_does_not_match():
    records = [{"kind": "begin", "format": 1, "run_key": "a", "boot_id": "x"}]
    assert begins_with(records, {"run_key": "a", "boot_id": "x"})
    assert not begins_with(records, {"run_key": "b", "boot_id": "x"})
    assert not begins_with(records, {"run_key": "a", "boot_id": "y"})
    assert not begins_with([], {"run_key": "a"})
