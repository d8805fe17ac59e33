"""The live display, drawn on a terminal that the test holds the other end of."""

import io
import os
import pty
import re
import select
import time

import pytest

from bpfbench.commands import live
from bpfbench.commands.live import Live, line, shortened
from bpfbench.progress import Progress, Pulse


def pulse(**fields):
    return Pulse(**{"task": "run_x", "note": "block 3", "done": 3, "total": 10, "started": 1000.0, "eta": None, **fields})


class Screen:
    """A terminal: what is written to ``out`` is seen on ``lines()`` as a person would."""

    def __init__(self, monkeypatch, columns=80, rows=24):
        self.read_end, write_end = pty.openpty()
        self.out = os.fdopen(write_end, "w")
        self.columns = columns
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(rows))
        self.raw = ""

    def lines(self):
        self.out.flush()
        # What is written to a terminal reaches its other end a moment later.
        seen = b""
        while select.select([self.read_end], [], [], 0.1)[0]:
            seen += os.read(self.read_end, 1 << 16)
        self.raw += seen.decode().replace("\r", "")
        rows, at = [""], 0
        for token in re.findall(r"\x1b\[\d*[A-Za-z]|\n|[^\n\x1b]+", self.raw):
            if token == "\n":
                at += 1
                rows += [""] * (at == len(rows))
            elif token.startswith("\x1b"):
                assert token[-1] in "FJ", f"an escape that nobody expects: {token!r}"
                if token[-1] == "F":
                    at -= int(token[2:-1])
                    assert at >= 0, "erased above the top"
                else:
                    rows = [*rows[:at], ""]
            else:
                assert len(token) < self.columns, "a line that the terminal would wrap"
                rows[at] = token + rows[at][len(token):]
        return rows[:-1] if rows[-1] == "" else rows


@pytest.fixture
def screen(monkeypatch):
    return Screen(monkeypatch)


def test_every_running_task_has_one_line_that_is_redrawn_in_place(screen, tmp_path):
    display = Live(screen.out, tmp_path)
    with Progress(tmp_path, "run_a") as one, Progress(tmp_path, "build_b") as two:
        one("block 1")
        two("compiling")
        display.draw()
        assert [text.split()[1] for text in screen.lines()] == ["build_b", "run_a"]
        time.sleep(0.25)
        one("block 2")
        display.draw()
        assert len(screen.lines()) == 2
        assert "block 2" in screen.lines()[1]
    display.draw()
    assert screen.lines() == []


def test_finished_lines_stand_above_what_is_live_and_nothing_else_stays(screen, tmp_path):
    display = Live(screen.out, tmp_path)
    with Progress(tmp_path, "run_a") as progress:
        progress("block 1")
        display.draw()
        display.say("✔ build_b  1.0 s")
        assert [text[:9] for text in screen.lines()] == ["✔ build_b", "… run_a  "]
        display.say("first\nsecond")
        assert len(screen.lines()) == 4
        display.stop()
    assert screen.lines() == ["✔ build_b  1.0 s", "first", "second"]


def test_a_finished_task_leaves_the_live_lines_at_once(screen, tmp_path):
    display = Live(screen.out, tmp_path)
    with Progress(tmp_path, "run_a"):
        with Progress(tmp_path, "build_b"):
            display.draw()
        display.say("✔ build_b  1.0 s")
        assert [text[:9] for text in screen.lines()] == ["✔ build_b", "… run_a  "]
        display.stop()


def test_a_narrow_terminal_gets_lines_that_fit(monkeypatch, tmp_path):
    screen = Screen(monkeypatch, columns=20)
    display = Live(screen.out, tmp_path)
    with Progress(tmp_path, "run_a") as progress:
        progress("a note that is much too long for so narrow a terminal")
        display.draw()
        (only,) = screen.lines()
        assert len(only) == 19
        assert only.endswith("…")


def test_more_tasks_than_rows_never_scroll(monkeypatch, tmp_path):
    screen = Screen(monkeypatch, rows=4)
    for name in "abcdefgh":
        Progress(tmp_path, name).__enter__()
    display = Live(screen.out, tmp_path)
    display.draw()
    assert len(screen.lines()) == 3


def test_a_terminal_that_was_narrowed_is_erased_as_far_as_it_wrapped(monkeypatch, screen, tmp_path):
    display = Live(screen.out, tmp_path)
    with Progress(tmp_path, "run_a") as progress:
        progress("x" * 60)
        display.draw()
        (drawn,) = screen.lines()
    monkeypatch.setenv("COLUMNS", "30")
    display.stop()
    screen.out.flush()
    wrapped = -(-len(drawn) // 30)
    assert wrapped > 1
    assert f"\x1b[{wrapped}F".encode() in os.read(screen.read_end, 1 << 16)


def test_a_note_cannot_send_escapes_to_the_terminal():
    text = line(pulse(note="a\x1b[2Jb\nc\td"), 1001.0)
    assert text.isprintable()
    assert "a[2Jb c d" in text


def test_in_a_pipe_there_are_plain_lines_only(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "_TICK", 0.01)
    monkeypatch.setattr(live, "_PLAIN_EVERY", 0.02)
    out = io.StringIO()
    display = Live(out, tmp_path)
    with Progress(tmp_path, "run_a") as progress:
        progress("block 1")
        display.start()
        deadline = time.monotonic() + 10
        while "block 1" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        display.say("✔ done")
        display.stop()
    assert "… run_a" in out.getvalue()
    assert "✔ done\n" in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_dumb_terminal_is_treated_like_a_pipe(monkeypatch, screen, tmp_path, term):
    monkeypatch.setenv("TERM", term) if term else monkeypatch.delenv("TERM")
    assert not Live(screen.out, tmp_path).terminal


def test_a_reader_that_went_away_ends_nothing(tmp_path):
    read_end, write_end = os.pipe()
    os.close(read_end)
    out = os.fdopen(write_end, "w")
    display = Live(out, tmp_path)
    display.say("unread")
    display.stop()
    os.close(os.open(os.devnull, os.O_RDONLY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # for the flush when it is closed


@pytest.mark.parametrize(
    ("fields", "expected", "end"),
    [
        ({}, None, "block 3"),
        ({"eta": 1070.0}, None, "block 3, about 1 min 00 s left"),
        ({"eta": 1070.0, "bound": True}, None, "block 3, at most 1 min 00 s left"),
        ({"eta": 1070.0, "bound": True}, 40.0, "block 3, about 30 s left"),
        ({"eta": 1070.0, "bound": True}, 5.0, "block 3, at most 1 min 00 s left"),
        ({"eta": 900.0}, 5.0, "block 3"),
    ],
)
def test_what_is_left_comes_from_the_past_or_else_from_the_task_itself(fields, expected, end):
    assert line(pulse(**fields), 1010.0, expected) == f"… run_x  10 s  {end}"


def test_a_clock_that_was_set_back_shows_no_negative_time():
    assert "-" not in line(pulse(), 900.0)


def test_shortened():
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "ab…"
