"""Tables hold what the result says, and words where there is no number."""

from __future__ import annotations

import re

import pytest

from bpfbench.report import render
from bpfbench.report.numbers import THIN, plus_minus
from bpfbench.report.tables import (
    comparisons_table,
    detailed_table,
    operations_table,
    summary_table,
    tables,
)


@pytest.fixture(scope="module")
def result(make):
    return make()


def line_of(table, *texts):
    return next(
        row.entries for row in table.rows if tuple(e.text for e in row.entries)[: len(texts)] == texts
    )


def comparison(result, case, arm, against):
    return next(
        c for c in result["comparisons"] if (c["case"], c["arm"], c["against"]) == (case, arm, against)
    )


def test_summary_has_medians_overheads_and_the_speed_up_over_the_kernel(result):
    table = summary_table(result)
    assert table.columns == (
        "Case", "native", "kernel eBPF", "embedded", "kernel eBPF − native", "embedded − native",
        "speed-up: kernel eBPF ÷ embedded",
    )  # fmt: skip
    texts = [entry.text for entry in line_of(table, "uprobe")]
    over = comparison(result, "uprobe", "kernel", "native")
    assert texts[4] == plus_minus(over["difference"], over["difference_ci"])
    inverse = comparison(result, "uprobe", "embedded", "kernel")
    speedup = float(texts[6].split(" ± ")[0])
    assert speedup == pytest.approx(1 / inverse["ratio"], rel=0.02)
    assert speedup > 50


def test_summary_has_the_cases_stated_as_a_whole_under_their_groups(result):
    table = summary_table(result)
    assert [row.entries[0].text for row in table.rows][1:4] == ["uprobe", "uretprobe", "uprobe-uretprobe"]
    assert {row.group for row in table.rows} == {"Hooks", "uprobe by first instruction"}
    assert len(table.rows) == 10


def counting(result):
    """Turn a result into one of counts: 12 in every sample of every cell, but one."""
    for metric in result["metrics"]:
        metric["unit"] = "1"
    for cell in result["cells"]:
        for summary in cell["metrics"].values():
            summary.update(values=[12.0] * summary["n"], median=12.0, median_ci=[12.0, 12.0], min=12.0, max=12.0)
    first = next(cell for cell in result["cells"] if cell["metrics"])
    next(iter(first["metrics"].values())).update(median=11.0, median_ci=[10.0, 12.0], min=10.0)
    return result, (first["case"], first["arm"])


def test_a_result_of_counts_has_one_table_of_them(make):
    result, (_, unsteady) = counting(make())
    (table,) = tables(result)
    assert table.columns == ("Case", "native", "kernel eBPF", "embedded")
    texts = {entry.text for row in table.rows[:-1] for entry in row.entries[1:]}
    assert texts == {"12", plus_minus(11.0, [10.0, 12.0]), "failed", "unsupported"}
    passed = [sum(cell["status"] == "ok" for cell in result["cells"] if cell["arm"] == arm["name"]) for arm in result["arms"]]
    assert [entry.text for entry in table.rows[-1].entries[1:]] == [f"{count} of {len(result['cases'])}" for count in passed]
    assert passed[0] > passed[2], "some case of the last arm failed"
    assert unsteady in [arm["name"] for arm in result["arms"]]


def test_a_result_of_counts_is_not_drawn(make):
    from bpfbench.report.figures import draw

    assert draw(counting(make())[0], ["svg"]) == {}


def test_without_a_userspace_arm_the_ratio_is_to_the_baseline(make):
    result = make(("native", "kernel"))
    assert summary_table(result).columns[-1] == "kernel eBPF ÷ native"
    over = comparison(result, "uprobe", "kernel", "native")
    entry = line_of(summary_table(result), "uprobe")[-1]
    assert entry.text == plus_minus(over["ratio"], over["ratio_ci"])


def test_higher_is_better_turns_the_speed_up_round(make):
    result = make()
    result["metrics"][0]["direction"] = "higher"
    assert summary_table(result).columns[-1] == "speed-up: embedded ÷ kernel eBPF"


def test_operations_table_shows_labels_status_and_reason(result):
    table = operations_table(result)
    assert table.columns == ("Operation", "kernel eBPF", "embedded")
    assert line_of(table, "array-delete (refused delete)")
    write = line_of(table, "write")
    assert (write[1].text, write[1].kind, write[1].note) == ("unsupported", "status", 1)
    assert "locked down" in table.notes[0]
    item = next(o for o in result["operations"] if (o["case"], o["arm"]) == ("read", "kernel"))
    assert line_of(table, "read")[1].text == plus_minus(item["value"], item["ci"])


def test_detailed_table_is_the_seeds_with_interval(result):
    table = detailed_table(result, "time")
    assert table.columns == ("Case", "Arm", "Min", "Max", "Mean", "SD", "n", "Median", "Interval")
    assert len(table.rows) == 78
    texts = [entry.text for entry in line_of(table, "uprobe", "kernel eBPF")]
    cell = next(c for c in result["cells"] if (c["case"], c["arm"]) == ("uprobe", "kernel"))
    summary = cell["metrics"]["time"]
    shown = [float(text.replace(THIN, "")) for text in texts[2:8]]
    expected = [summary[key] for key in ("min", "max", "mean", "sd", "n", "median")]
    assert shown == pytest.approx(expected, rel=0.01, abs=0.5)


def test_comparisons_table_repeats_verdicts(result):
    table = comparisons_table(result)
    assert len(table.rows) == len(result["comparisons"])
    assert line_of(table, "uprobe", "embedded against kernel eBPF")[-1].text == "better"


def test_cells_that_are_not_ok_are_never_numbers(result):
    for table in tables(result):
        for row in table.rows:
            first = [entry.text for entry in row.entries[:2]]
            if table.name.startswith("detail-"):
                if first in (["write", "kernel eBPF"], ["percpu-hash-update", "embedded"]):
                    assert [entry.kind for entry in row.entries[2:]] == ["status"]
                    assert row.entries[2].note
            elif table.name == "comparisons":
                assert first not in (
                    ["write", "kernel eBPF against native"],
                    ["percpu-hash-update", "embedded against native"],
                )
    texts = [entry.text for entry in line_of(operations_table(result), "percpu-hash-update")]
    assert texts[2] == "failed"


def test_a_failed_cell_takes_its_differences_and_ratios_along(make):
    result = make()
    cell = next(c for c in result["cells"] if (c["case"], c["arm"]) == ("uprobe", "kernel"))
    cell.update(status="failed", reason="no", metrics={})
    result["comparisons"] = [
        c for c in result["comparisons"] if c["case"] != "uprobe" or "kernel" not in (c["arm"], c["against"])
    ]
    texts = [entry.text for entry in line_of(summary_table(result), "uprobe")]
    assert (texts[2], texts[4], texts[6]) == ("failed", "–", "–")
    assert texts[5] != "–"


def test_a_floor_that_failed_is_named(make):
    result = make(("native", "kernel"), broken=False)
    cell = next(c for c in result["cells"] if (c["case"], c["arm"]) == ("uprobe", "kernel"))
    cell.update(status="failed", reason="no", metrics={})
    result["operations"] = [dict(result["operations"][0], arm="native")]  # so that there is such a table
    table = operations_table(result)
    entry = line_of(table, "array-lookup")[table.columns.index("kernel eBPF")]
    assert entry.text == "–" and table.notes[entry.note - 1] == "no floor: uprobe is failed"


def test_one_arm(make):
    result = make(("native",), broken=False)
    assert summary_table(result).columns == ("Case", "native")
    assert len(summary_table(result).rows) == 26
    assert operations_table(result) is None and comparisons_table(result) is None


def test_a_selection_without_the_baseline(make):
    result = make(("kernel",), broken=False)
    result["baseline"] = "native"
    assert summary_table(result).columns == ("Case", "kernel eBPF")


def test_markdown_lines_all_have_as_many_fields(result):
    for table in tables(result):
        lines = [line for line in render.markdown(table).splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.columns) + 1}


HOSTILE = "<script>alert('x')</script> a|b `code` **bold** [x](javascript:y) \n# head & <img src=x onerror=y>"


def hostile(make):
    result = make()
    result["cases"][4]["title"] = HOSTILE
    result["groups"][0]["title"] = HOSTILE
    result["arms"][1]["title"] = HOSTILE
    result["cases"][5]["labels"] = [HOSTILE]
    for cell in result["cells"]:
        if cell["status"] != "ok":
            cell["reason"] = HOSTILE
    return result


def test_hostile_words_stay_words_in_markdown(make):
    for table in tables(hostile(make)):
        text = render.markdown(table)
        assert "<script" not in text and "<img" not in text
        assert "a&#124;b \\`code\\` \\*\\*bold\\*\\* \\[x\\]\\(javascript" in text
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert {line.count("|") for line in lines} == {len(table.columns) + 1}
        assert not any(line.startswith("#") for line in text.splitlines())


def test_hostile_words_stay_words_in_html(make):
    for table in tables(hostile(make)):
        text = render.html(table)
        assert "<script" not in text and "<img" not in text
        assert "&lt;script&gt;" in text
