import io
from pathlib import Path

import pytest

from bpfbench.commands.text import counted, duration, one_line, shortest, size, takes_colour, takes_escapes


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"), (0, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (9.99, "10 s"), (59.4, "59 s"),
        (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3599.7, "1 h 00 min"), (7800, "2 h 10 min"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024 * 1023.9, "1.0 MiB"), (3.5 * 2**30, "3.5 GiB"),
        (2**43, "8192.0 GiB"),
    ],
)  # fmt: skip
def test_sizes(count, text):
    assert size(count) == text


def test_a_path_is_told_as_short_as_can_be():
    assert shortest(Path("/a/b/c/d"), Path("/a/b")) == "c/d"
    assert shortest(Path("/a/b"), Path("/x/y/z/long")) == "/a/b"


def test_one_line_keeps_letters_and_drops_what_a_terminal_acts_on():
    assert one_line("é\n ü\x07\x1b[31m\u202e") == "é ü[31m"


def test_counted():
    assert (counted(1, "task"), counted(2, "task"), counted(0, "task")) == ("1 task", "2 tasks", "0 tasks")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colour_is_for_terminals_whose_user_did_not_say_no():
    assert takes_colour(Terminal(), {"TERM": "xterm"})
    assert takes_colour(Terminal(), {"TERM": "xterm", "NO_COLOR": ""})
    assert not takes_colour(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"})
    assert not takes_colour(Terminal(), {"TERM": "dumb"})
    assert not takes_colour(io.StringIO(), {"TERM": "xterm"})
    assert not takes_escapes(Terminal(), {})
