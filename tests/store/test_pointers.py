import json

import pytest

from bpfbench.errors import BenchError
from bpfbench.store import availability, pointers

ID = "0" * 32 + "-thing"


def test_a_pointer_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "deep" / "build_uprobe"
    pointers.write(path, ID, {"hash": "sha256-x", "n": [1, 2]})
    assert pointers.read(path) == pointers.Pointer(ID, {"hash": "sha256-x", "n": [1, 2]})


def test_where_there_is_nothing_to_point_to_the_file_says_so_and_replaces_no_pointer(tmp_path):
    path = tmp_path / "deep" / "build_uprobe"
    pointers.write_absent(path, "it is out of reach")
    assert path.exists() and pointers.read(path) is None
    pointers.write(path, ID)
    pointers.write_absent(path, "it is out of reach")
    assert pointers.read(path) == pointers.Pointer(ID, {})


def test_the_same_content_leaves_the_file_untouched(tmp_path):
    path = tmp_path / "pointer"
    pointers.write(path, ID, {"b": 1, "a": 2})
    before = path.stat()
    pointers.write(path, ID, {"a": 2, "b": 1})
    assert path.stat() == before
    pointers.write(path, ID, {"a": 3, "b": 1})
    assert path.stat().st_ino != before.st_ino and pointers.read(path).meta["a"] == 3


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"item": "x"}', b'{"item": "x", "meta": 3}', b"\xff"]
)
def test_what_is_no_pointer_is_none(tmp_path, text):
    path = tmp_path / "pointer"
    assert pointers.read(path) is None
    path.write_bytes(text)
    assert pointers.read(path) is None
    pointers.write(path, ID)
    assert pointers.read(path) == pointers.Pointer(ID, {})


def test_a_pointer_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "pointer").mkdir()
    with pytest.raises(BenchError, match="pointer cannot be written"):
        pointers.write(tmp_path / "pointer", ID)


def test_availability_is_remembered_with_what_was_seen(tmp_path):
    assert availability.read(tmp_path / "a", "bpftime") is None
    written = availability.record(tmp_path / "a", "bpftime", False, "no network", {"origins": ["x"]})
    assert availability.read(tmp_path / "a", "bpftime") == written
    assert (written.ok, written.reason, written.seen) == (False, "no network", {"origins": ["x"]})
    availability.record(tmp_path / "a", "bpftime", True, "", {"origins": ["y"]})
    again = availability.read(tmp_path / "a", "bpftime")
    assert again.ok and again.seen == {"origins": ["y"]} and again.tried_at >= written.tried_at


@pytest.mark.parametrize("damage", [lambda d: "{", lambda d: "[]", lambda d: json.dumps({**d, "extra": 1}),
                                    lambda d: json.dumps({"ok": True})])  # fmt: skip
def test_a_damaged_record_counts_as_none(tmp_path, damage):
    availability.record(tmp_path, "x", True, "", {})
    path = tmp_path / "x.json"
    path.write_text(damage(json.loads(path.read_text())))
    assert availability.read(tmp_path, "x") is None


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_records_stay_in_their_directory(tmp_path, name):
    with pytest.raises(BenchError, match="cannot name an availability record"):
        availability.record(tmp_path, name, True, "", {})
