"""The task graph, and how little a call that has nothing to do costs."""

import functools
import os
import re
import shutil

import pytest

HEAVY = {"numpy", "matplotlib", "git", "jsonschema", "rich", "yaml", "jinja2", "scipy"}
MEASURED = ("arms=native", "cases=uprobe", "budget=1s", "noise=accept")


def imported(ended):
    """Return the top-level modules that a call imported, from what -X importtime says."""
    names = re.findall(r"^import time:.*\|\s*(\S+)$", ended.stderr, re.MULTILINE)
    return {name.partition(".")[0] for name in names}


def modules(ended):
    return set(re.findall(r"^import time:.*\|\s*(\S+)$", ended.stderr, re.MULTILINE))


def test_the_list_is_readable_and_whole(checkout):
    checkout.experiment("second")
    lines = checkout.doit("list", "--all").stdout.splitlines()
    told = {line.split()[0]: line.split(None, 1)[1] for line in lines}
    assert set(told) == {
        "build_uprobe", "check_second", "check_uprobe", "figure_second", "figure_uprobe", "report", "run_second",
        "run_uprobe", "system", "system:uprobe",
    }  # fmt: skip
    assert told["run_uprobe"] == "measure: A small experiment"
    assert all(doc for doc in told.values())


def test_words_choose_the_tasks_that_there_are(checkout):
    checkout.experiment("second")
    checkout.edit("specs/experiments/second.yaml", "case: uretprobe", "case: special")
    names = [line.split()[0] for line in checkout.doit("list", "cases=special").stdout.splitlines()]
    assert "run_second" in names
    assert "run_uprobe" not in names


def test_info_of_every_task_is_short_and_readable(checkout):
    for name in ("build_uprobe", "run_uprobe", "check_uprobe", "figure_uprobe", "report"):
        ended = checkout.doit("info", name)
        assert "Traceback" not in ended.stderr
        assert f"`./bench explain {name}`" in ended.stdout
        assert len(ended.stdout) < 2000


def test_a_package_and_an_experiment_of_one_name_share_their_system_task(checkout):
    checkout.edit("specs/experiments/uprobe.yaml", "packages: [uprobe]", "packages: [uprobe]\nneeds: [gcc]")
    ended = checkout.doit("list", "--all")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("system:uprobe") == 1


@pytest.mark.parametrize("command", [("list",), ("list", "--all"), ("plan",), ("explain", "report"), ("info", "report")])
def test_looking_imports_nothing_heavy(checkout, command):
    checkout.doit(*command)  # the specs are read once, and remembered
    ended = checkout.doit(*command, python=("-X", "importtime"))
    assert imported(ended) & HEAVY == set()


def test_a_list_looks_at_no_step_and_no_store(checkout):
    checkout.doit("list")
    ended = checkout.doit("list", python=("-X", "importtime"))
    loaded = modules(ended)
    assert "bpfbench.context" in loaded
    for name in ("bpfbench.steps", "bpfbench.store.store", "bpfbench.sampling", "bpfbench.process.reaper", "subprocess"):
        assert name not in loaded - {"subprocess"}, name


@pytest.fixture(scope="module")
def measured(new_checkout, tmp_path_factory):
    """Return a checkout in which the native arm of one case was really measured and reported."""
    if not (shutil.which("clang") and shutil.which("gcc")):
        pytest.skip("builds with clang and gcc")
    checkout = new_checkout(tmp_path_factory.mktemp("measured") / "checkout")
    ended = checkout.doit(*MEASURED)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "✔ report" in ended.stdout
    checkout.doit(*MEASURED)
    return checkout


@pytest.mark.system
def test_a_second_run_says_that_nothing_is_to_do_and_shows_the_arms(measured):
    lines = measured.doit(*MEASURED).stdout.splitlines()
    assert lines[0] == "nothing to do: 6 tasks up to date"
    assert lines[1].split() == ["uprobe", "native", "ok", "1", "of", "1", "case"]
    assert lines[2].startswith("report: results/")
    assert len(lines) == 3


@pytest.mark.system
@pytest.mark.parametrize("command", [(), ("plan",), ("list", "-s"), ("results",), ("results", "--json")])
def test_an_up_to_date_call_imports_nothing_heavy_and_starts_nothing(measured, tmp_path, command):
    log = tmp_path / "audit"
    ended = measured.doit(*command, *MEASURED, python=("-X", "importtime"), BPFBENCH_TEST_AUDIT=str(log))
    assert ended.returncode == 0
    assert imported(ended) & HEAVY == set()
    assert not log.exists(), log.read_text()


@pytest.mark.system
def test_that_something_was_started_would_be_noticed(measured, tmp_path):
    log = tmp_path / "audit"
    measured.doit("build_uprobe", f"store={tmp_path / 'other'}", BPFBENCH_TEST_AUDIT=str(log))
    assert log.read_text()


@pytest.mark.system
def test_the_report_is_told_from_where_one_stands(measured):
    below = measured.root / "specs"
    line = measured.doit(*MEASURED, cwd=below).stdout.splitlines()[-1]
    assert line.startswith("report: ../results/")
    assert os.path.exists(below / line.removeprefix("report: "))  # noqa: PTH110


@pytest.mark.system
def test_nothing_is_planned_and_everything_is_explained_as_standing(measured):
    assert measured.doit("plan", *MEASURED).stdout == "nothing to do: 6 tasks up to date\n"
    assert measured.doit("explain", "run_uprobe", *MEASURED).stdout.startswith("run_uprobe: up to date")


@pytest.mark.system
def test_results_are_found_by_the_same_words_only(measured):
    assert "native" in measured.doit("results", *MEASURED).stdout
    assert "nothing measured here yet" in measured.doit("results").stderr
    assert "nothing measured here yet" in measured.doit("results", *MEASURED, "take=b").stderr


@pytest.mark.system
def test_another_budget_is_planned_with_what_changed(measured):
    plan = measured.doit("plan", "arms=native", "cases=uprobe", "budget=2s", "noise=accept").stdout
    assert "changed: profile.budget" in plan
    assert "only if run_uprobe comes out different" in plan
    assert "at most 2.0 s" in plan
    lines = measured.doit("explain", "run_uprobe", "arms=native", "cases=uprobe", "budget=2s", "noise=accept").stdout
    assert "profile.budget: 1.0 → 2.0" in lines


@pytest.mark.system
def test_a_title_is_put_into_the_result_without_measuring(measured):
    measured.edit("specs/experiments/uprobe.yaml", "title: A small experiment", "title: Another title")
    try:
        ended = measured.doit(*MEASURED)
        assert ended.returncode == 0
        assert len(list((measured.root / "vendor" / "store").glob("*-measure-uprobe"))) == 1
        assert "Another title" in measured.doit("results", *MEASURED).stdout
    finally:
        measured.edit("specs/experiments/uprobe.yaml", "title: Another title", "title: A small experiment")
        measured.doit(*MEASURED)


@pytest.mark.system
def test_clean_removes_figures_and_reports_only_and_says_so_first(measured):
    (report,) = (measured.root / "results").rglob("report.html")
    results = report.parent
    dry = measured.doit("clean", "-n", "-a", *MEASURED).stdout
    assert dry.count("would remove") == 4
    assert report.exists()
    measured.doit("clean", "-a", *MEASURED)
    assert [path.name for path in sorted(results.rglob("*")) if path.is_file()] == ["uprobe.json"]
    ended = measured.doit(*MEASURED)
    assert "run_uprobe" not in ended.stdout.replace("./bench run_uprobe", "")
    assert report.exists()


@pytest.mark.system
def test_losing_doit_s_database_or_forgetting_everything_changes_nothing(measured):
    for loss in ((measured.root / ".doit.db").unlink, functools.partial(measured.doit, "forget", "-a")):
        loss()
        assert measured.doit(*MEASURED).stdout.startswith("nothing to do")
