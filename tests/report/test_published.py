"""What others published stands beside our numbers, with its source, and in nothing that is computed."""

from bpfbench.model.types import Location, Published, PublishedValue
from bpfbench.report.page import report_html, report_markdown
from bpfbench.report.published import published_table
from bpfbench.resultview import View

from .sample import make as sample_result

HERE = Location("specs/published/x.yaml", 1, 1)


def published(*values, unit="ns", per="call", experiment=None, **more):
    told = {"name": "x", "title": "Theirs", "source": "a report", "address": None, "machine": "a machine", "date": "2025-04"}
    experiment = experiment or sample_result()["experiment"]
    return Published(experiment=experiment, confidence="derived", unit=unit, per=per, values=values, location=HERE, **told, **more)


def rows(*publications):
    table = published_table(sample_result(), publications)
    return [[entry.text for entry in row.entries] for row in table.rows] if table else None


def a_measured_cell():
    view = View(sample_result())
    name = view.primary["name"]
    return next((c, a, view.summary(c, a, name)) for c, a in view.cells if view.ok(c, a) and view.arms[a]["where"] == "kernel")


def test_a_number_stands_beside_ours_of_the_same_case_and_runtime():
    case, arm, summary = a_measured_cell()
    runtime = View(sample_result()).arms[arm]["runtime"]
    metric = View(sample_result()).primary
    value = PublishedValue("kernel", 2561.57, case=case, runtime=runtime, sd=628.77, n=10)
    ((name, system, told, n, here),) = rows(published(value, unit=metric["unit"], per=metric["per"]))
    assert (name.split(" (")[0], system, n) == (View(sample_result()).cases[case]["title"], "kernel", "10")
    assert told.replace("\u202f", "") == "2561.57 ± 628.77"
    assert here.replace("\u202f", "").split(" ")[0].startswith(f"{summary['median']:.0f}"[:2])


def test_another_unit_or_an_unknown_case_stands_beside_nothing():
    case, arm, _ = a_measured_cell()
    runtime = View(sample_result()).arms[arm]["runtime"]
    value = PublishedValue("kernel", 5, case=case, runtime=runtime)
    assert rows(published(value, per="operation"))[0][-1] == "–"
    assert rows(published(PublishedValue("other", 5, what="a thing")))[0] == ["a thing", "other", "5", "–", "–"]


def test_other_experiments_numbers_are_not_shown():
    assert rows(published(PublishedValue("x", 1, what="y"), experiment="another")) is None


def test_the_report_says_where_a_number_comes_from_and_how_sure_it_is():
    one = published(PublishedValue("theirs", 1234.5, what="a thing"), remark="Nobody checked.")
    markdown = report_markdown([sample_result()], published=[one])
    html = report_html([sample_result()], {sample_result()["experiment"]: ()}, [one])
    for text in (markdown, html):
        for words in ("Published elsewhere", "a report", "a machine", "2025-04", "derived", "Nobody checked.", "a thing"):
            assert words in text.replace("\\", "")
    assert "Published elsewhere" not in report_markdown([sample_result()])
