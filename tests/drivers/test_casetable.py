"""Tables of small programs: what is read from them, and which programs a class has."""

from pathlib import Path

import pytest

from bpfbench.drivers.casetable import about, named, read_tables
from bpfbench.errors import BenchError

TABLE = """\
# a comment
add | mov64 r0, 1; add64 r0, 2; exit | 3  # three
less | mov64 r0, 1; jlt64 r0, 2, out; add64 r0, 1; out: ; exit | -1
refused one | ja +5; exit | refused out of its function

case counts in memory
before 16 0x29
\tlddw_value r1, 1, 16
\tldxdw r2, [r1+0]
again:
\tadd64 r2, 1
\tstxdw [r1+0], r2
\texit
result 0
after 16 42

case not for the kernel
\tmov64 r0, 1
\texit
result 1
not kernel

case random
\tmov64 r0, 1
\texit
seed 7
"""


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "a.case").write_text(TABLE)
    return read_tables(tmp_path)


def test_rows_and_blocks_with_a_result_everywhere_are_read(rows):
    assert [row.name for row in rows] == ["add", "less", "counts in memory"]
    assert rows[0].result == "0300000000000000"
    assert rows[1].result == "ff" * 8
    assert rows[2].after == {16: "2a00000000000000"}


def test_a_program_is_told_in_one_line(rows):
    assert rows[0].words == "||mov64 r0, 1; add64 r0, 2; exit"
    assert rows[2].words == "16=0x29|16|lddw_value r1, 1, 16; ldxdw r2, [r1+0]; again:; add64 r2, 1; stxdw [r1+0], r2; exit"


def test_a_class_has_the_programs_that_use_its_instructions_and_no_strange_ones(rows):
    assert [row.name for row in about(rows, ["add64"], [])] == ["add"]
    assert [row.name for row in about(rows, ["add64"], ["jlt64"])] == ["add", "less"]
    assert [row.name for row in about(rows, ["mov64"], [])] == []


def test_a_name_that_no_program_has_is_an_error(rows):
    assert named(rows, ["less"]) == [rows[1]]
    with pytest.raises(BenchError, match='"more"'):
        named(rows, ["less", "more"])


@pytest.mark.parametrize("line", ["add | mov64 r0, 1", "\tmov64 r0, 1", "add | mov64 r0, 1; exit | three"])
def test_a_line_that_says_nothing_is_located(tmp_path, line):
    (tmp_path / "a.case").write_text(f"# first\n{line}\n")
    with pytest.raises(BenchError, match=r"a\.case:2"):
        read_tables(tmp_path)


def test_all_of_our_tables_are_understood():
    root = Path(__file__).parents[2]
    for folder in ("embedded/engine/tests/cases", "workloads/conformance"):
        assert read_tables(root / folder)
