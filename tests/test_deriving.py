"""Check, figure and report: made once for the same result, made again for another, and never from what is no result."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from bpfbench import deriving
from bpfbench.codedigest import CodeDigests
from bpfbench.errors import BenchError
from bpfbench.layout import Layout
from bpfbench.progress import Progress
from bpfbench.steps import WAITS

ROOT = Path(__file__).resolve().parents[1]
NAME = "invented"


@pytest.fixture(scope="session")
def result(make):
    return make(("native", "kernel"), broken=False)


@pytest.fixture
def here(tmp_path):
    layout = Layout.of(tmp_path)
    shutil.copytree(ROOT / "schemas", layout.schemas)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "run.txt").write_text("numpy\n")
    return SimpleNamespace(
        layout=layout, results=layout.results / "machine" / "quick", codes=CodeDigests(layout.state / "code.json"),
        profile=SimpleNamespace(figure_formats=("svg",)),
    )  # fmt: skip


def put(here, result, name=NAME):
    here.results.mkdir(parents=True, exist_ok=True)
    (here.results / f"{name}.json").write_text(json.dumps({**result, "experiment": name}))


def run(here, step):
    with Progress(here.layout.progress, step.name) as progress:
        return step.run(progress)


def steps(here):
    return deriving.check_step(here, NAME), deriving.figure_step(here, NAME)


def test_without_a_result_they_wait(here):
    for step in steps(here):
        assert step.standing().why == WAITS


def test_they_are_done_once(here, result):
    put(here, result)
    for step in steps(here):
        item = run(here, step)
        assert step.standing().uptodate
        assert run(here, step).manifest == item.manifest
    assert list((here.results / "figures").glob(f"{NAME}*.svg"))
    assert not list((here.results / "figures").glob("*.png"))


def test_another_result_is_checked_and_drawn_anew(here, result):
    put(here, result)
    for step in steps(here):
        run(here, step)
    put(here, {**result, "title": "Another title"})
    for step in steps(here):
        assert "seen" in step.standing().why
        assert [change.path for change in step.changed()] == [f"seen.{NAME}.json"]


def test_a_result_that_contradicts_itself_is_refused_with_the_place(here, result):
    wrong = json.loads(json.dumps(result))
    cell = next(cell for cell in wrong["cells"] if cell["status"] == "ok")
    cell["metrics"]["time"]["mean"] *= 2
    put(here, wrong)
    step = deriving.check_step(here, NAME)
    with pytest.raises(BenchError, match="does not hold") as refused:
        run(here, step)
    assert "mean" in str(refused.value)
    assert f"./bench run_{NAME}" in str(refused.value)
    assert step.item() is None


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_what_is_no_result_is_refused(here, content):
    here.results.mkdir(parents=True)
    (here.results / f"{NAME}.json").write_text(content)
    for step in steps(here):
        with pytest.raises(BenchError, match=f"{NAME}.json: not a"):
            run(here, step)


def test_formats_pins_and_schema_are_in_the_keys(here, result):
    put(here, result)
    check, figure = (step.key() for step in steps(here))
    here.profile.figure_formats = ("svg", "png")
    assert steps(here)[1].key() != figure
    here.profile.figure_formats = ("svg",)
    (here.layout.root / "requirements" / "run.txt").write_text("numpy==2\n")
    assert steps(here)[1].key() != figure
    (here.layout.root / "requirements" / "run.txt").write_text("numpy\n")
    assert [step.key() for step in steps(here)] == [check, figure]
    schema = here.layout.schemas / "result.json"
    schema.write_text(schema.read_text() + "\n")
    assert steps(here)[0].key() != check


def test_a_report_is_about_the_results_that_there_are(here, result):
    put(here, result)
    run(here, deriving.figure_step(here, NAME))
    step = deriving.report_step(here, [NAME, "unmeasured"])
    run(here, step)
    assert step.standing().uptodate
    assert result["title"] in (here.results / "report.md").read_text()
    assert "<svg" in (here.results / "report.html").read_text()
    put(here, result, name="unmeasured")
    assert "unmeasured" in step.standing().why


def test_a_report_is_made_again_for_another_drawing(here, result):
    put(here, result)
    run(here, deriving.figure_step(here, NAME))
    step = deriving.report_step(here, [NAME])
    run(here, step)
    drawing = next((here.results / "figures").glob("*.svg"))
    drawing.write_text(drawing.read_text() + "<!-- -->")
    assert not step.standing().uptodate


def test_a_close_look_names_what_goes_in_and_what_comes_out(here, result):
    put(here, result)
    check, figure = steps(here)
    report = deriving.report_step(here, [NAME, "unmeasured"])
    for step in (check, figure, report):
        run(here, step)
        assert step.look()[0]
    shown, drawn = str(here.results / f"{NAME}.json"), {str(path) for path in (here.results / "figures").glob("*.svg")}
    assert shown in check.look()[1]
    assert {shown, *drawn} <= {*figure.look()[1]}
    assert {shown, *drawn, str(here.results / "figures"), str(here.results / "unmeasured.json")} <= {*report.look()[1]}


def test_cleaning_takes_away_what_is_shown_and_keeps_the_item(here, result):
    put(here, result)
    step = deriving.figure_step(here, NAME)
    run(here, step)
    step.forget_view()
    assert not list((here.results / "figures").glob("*"))
    assert step.item() is not None
