"""What is drawn and told relative to the baseline: what a call costs more, and ratios of executions."""

import math

import pytest

from bpfbench.report import figures
from bpfbench.report.tables import geometric_table
from bpfbench.resultview import View

from .sample import make


def result(per):
    made = make()
    for case in made["cases"]:
        case["floor"], case["divisor"] = None, 1
    made["operations"] = []
    next(metric for metric in made["metrics"] if metric["primary"])["per"] = per
    return made


def marks(made, kind):
    column = figures._column(View(made), kind)
    return {(case["name"], mark.arm): mark for panel in column.panels for case, marks in panel.cases for mark in marks}


def test_calls_are_drawn_with_what_they_cost_more_than_a_bare_one():
    made = result("call")
    view = View(made)
    assert figures._relative(view, ["whole"]) == ["added"]
    drawn, compared = marks(made, "added"), 0
    assert all(arm != made["baseline"] for _, arm in drawn)
    for item in made["comparisons"]:
        if item["against"] == made["baseline"]:
            mark = drawn[item["case"], item["arm"]]
            assert (mark.value, mark.low, mark.high) == (item["difference"], *item["difference_ci"])
            compared += 1
    assert compared


def test_an_arm_without_a_value_keeps_its_word():
    made = result("call")
    view, drawn = View(made), marks(made, "added")
    absent = [key for key, cell in view.cells.items() if cell["status"] != "ok" and key in drawn]
    assert absent
    for key in absent:
        assert drawn[key].word == view.cells[key]["status"]


def test_executions_are_drawn_as_ratios_and_their_geometric_mean_is_told():
    made = result("execution")
    assert figures._relative(View(made), ["whole"]) == ["ratio"]
    table = geometric_table(made)
    for row in table.rows:
        arm = next(arm["name"] for arm in made["arms"] if arm["title"] == row.entries[0].text)
        ratios = [item["ratio"] for item in made["comparisons"] if (item["arm"], item["against"]) == (arm, made["baseline"])]
        mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
        assert int(row.entries[1].text) == len(ratios)
        assert float(row.entries[2].text.replace("\u202f", "").replace(",", "")) == pytest.approx(mean, rel=0.01)


def test_where_operations_are_drawn_nothing_is_drawn_twice():
    made = make()
    assert figures._relative(View(made), ["whole", "operation"]) == []
    assert geometric_table(made) is None


def test_relative_figures_are_the_same_bytes_every_time():
    made = result("call")
    assert figures.draw(made, ["svg"]) == figures.draw(made, ["svg"])
