"""Flat rows for programs and aligned text for terminals."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bpfbench.report.rows import columns_of, rows, terminal_table

KEYS = {
    "experiment", "case", "arm", "status", "reason", "metric", "unit", "direction", "n", "mean", "median",
    "low", "high", "proof", "engine", "backend", "profile", "verification",
}  # fmt: skip


@pytest.fixture(scope="module")
def result(make):
    return make()


def test_rows_have_exactly_the_promised_keys_and_are_json(result):
    found = rows(result)
    assert len(found) == 26 * 3
    assert all(set(row) == KEYS for row in found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_row_tells_what_the_cell_says(result):
    row = next(row for row in rows(result) if (row["case"], row["arm"]) == ("uprobe", "kernel"))
    cell = next(cell for cell in result["cells"] if (cell["case"], cell["arm"]) == ("uprobe", "kernel"))
    summary = cell["metrics"]["time"]
    assert (row["n"], row["mean"], row["median"]) == (summary["n"], summary["mean"], summary["median"])
    assert [row["low"], row["high"]] == summary["median_ci"]
    assert row["proof"] == {key: cell["proof"][key] for key in ("expected", "observed")}
    assert (row["unit"], row["direction"], row["profile"]) == ("ns", "lower", "quick")


def test_a_row_says_who_has_verified_its_programs(make):
    result = make(broken=False)
    for cell in result["cells"]:
        if cell["arm"] == "kernel":
            cell["evidence"]["verification"] = ["kernel"]
        elif cell["arm"] == "embedded":
            cell["evidence"] |= {"verification": ["kernel", "unverified"], "unverified_because": ["not permitted"]}
    told = {row["arm"]: row["verification"] for row in rows(result)}
    assert told == {"native": None, "kernel": "kernel", "embedded": "kernel; unverified"}
    assert terminal_table([result], 100, False).count("unverified programs: not permitted") == 1


def test_rows_of_cells_that_are_not_ok_have_a_reason_and_no_figure(result):
    bad = [row for row in rows(result) if row["status"] != "ok"]
    assert {row["status"] for row in bad} == {"unsupported", "failed"}
    for row in bad:
        assert row["reason"]
        assert (row["n"], row["mean"], row["median"], row["low"], row["high"]) == (0, None, None, None, None)


@pytest.mark.parametrize("width", [40, 60, 78, 100, 200])
def test_terminal_table_fits_and_has_everything(result, width):
    text = terminal_table([result], width, False)
    assert "\x1b" not in text
    assert max(columns_of(line) for line in text.splitlines()) <= width
    for case in result["cases"]:
        assert case["title"] in text
    assert "refused delete" in text and "unsupported" in text and "failed" in text
    assert "SIGSEGV" in text


def test_colour_only_paints(result):
    import re

    painted = terminal_table([result], 100, True)
    assert "\x1b[31m" in painted and "\x1b[33m" in painted
    assert re.sub(r"\x1b\[\d+m", "", painted) == terminal_table([result], 100, False)


def test_columns_are_aligned(result):
    lines = terminal_table([result], 120, False).splitlines()
    table = [line for line in lines if " ± " in line]
    assert len(table) == 26
    assert len({len(line) for line in table if line.rstrip()[-1].isdigit()}) == 2  # calls and operations


def test_nothing_that_a_terminal_acts_on_gets_through(make):
    result = make(("native", "kernel"))
    result["title"] = "red \x1b[31m bell \x07 title\r\n"
    result["cells"][0].update(status="failed", reason="\x1b]0;owned\x07 line one\nline two", metrics={})
    text = terminal_table([result], 100, False)
    assert not set(text) & {chr(code) for code in range(32) if chr(code) != "\n"}
    assert "line one line two" in text


def test_one_arm_shows_all_cases_per_call(make):
    text = terminal_table([make(("native",), broken=False)], 100, False)
    assert text.count(" ± ") == 26
    assert "per operation" not in text


def test_several_and_none(result):
    assert terminal_table([result, result], 100, False).count("invented: ") == 2
    assert terminal_table([], 100, False) == "No results yet.\n"


def test_a_missing_floor_leaves_a_dash_and_not_a_number(make):
    result = make(("native", "kernel"), broken=False)
    result["operations"] = [item for item in result["operations"] if item["case"] != "read"]
    line = next(
        line for line in terminal_table([result], 100, False).splitlines() if line.split()[:1] == ["read"]
    )
    assert line.split() == ["read", "–"]


def test_nothing_heavy_is_imported():
    code = (
        "import sys, bpfbench.report.rows; "
        "print([m for m in ('numpy','matplotlib','jinja2','jsonschema','git','rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
