from __future__ import annotations

import os
import select
import tempfile
import tracemalloc
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bpfbench.process.log import CHUNK, LONGEST_LINE, Bell, Lines, tail


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\0", b"\n")), max_size=12))
def test_lines_come_out_once_and_whole_however_they_were_written(parts: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "log")
        path.touch()
        lines = Lines(path)
        seen: list[str] = []
        with path.open("ab", buffering=0) as file:
            for part in parts:
                file.write(part)
                while (line := lines.next()) is not None:
                    seen.append(line)
        while (line := lines.next(ended=True)) is not None:
            seen.append(line)
    written = b"".join(parts)
    expected = written.split(b"\n")[: None if not written.endswith(b"\n") and written else -1]
    assert seen == [line.decode(errors="replace").removesuffix("\r") for line in expected]


def test_an_unfinished_line_is_held_back_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("half")
    lines = Lines(path)
    assert lines.next() is None
    assert lines.next(ended=True) == "half"
    assert lines.next(ended=True) is None


def test_a_flood_without_newlines_is_cut_and_needs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    size = 24 * LONGEST_LINE
    with path.open("wb") as file:
        for _ in range(size // CHUNK):
            file.write(b"x" * CHUNK)
    lines = Lines(path)
    total = 0
    tracemalloc.start()
    try:
        while (line := lines.next(ended=True)) is not None:
            total += len(line)
            assert len(line) < LONGEST_LINE + CHUNK
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == size
    assert peak < 8 * LONGEST_LINE


def test_the_tail_shows_the_end_of_each_log_printably(tmp_path: Path) -> None:
    out, err = tmp_path / "a.out", tmp_path / "a.err"
    out.write_bytes(b"".join(b"line %d\n" % number for number in range(10000)) + b"\xff\x1b[31mlast")
    err.write_text("")
    shown = tail(out, err, tmp_path / "missing")
    assert str(out) in shown
    assert "line 9999\n" in shown
    assert "line 9000\n" not in shown
    assert "last" in shown
    assert "\x1b" not in shown
    assert str(err) not in shown


def test_the_bell_rings_for_the_watched_file_alone(tmp_path: Path) -> None:
    watched, other = tmp_path / "watched", tmp_path / "other"
    watched.touch()
    other.touch()
    bell = Bell()
    poller = select.poll()
    poller.register(bell.fd, select.POLLIN)
    try:
        bell.watch(watched)
        with other.open("ab", buffering=0) as file:
            file.write(b"x")
        assert not poller.poll(0)
        with watched.open("ab", buffering=0) as file:
            file.write(b"x")
        assert poller.poll(0)
        bell.silence()
        assert not poller.poll(0)
        bell.unwatch()
        bell.silence()
        os.truncate(watched, 0)
        assert not poller.poll(0)
    finally:
        bell.close()
