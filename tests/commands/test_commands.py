"""plan, explain, results, list and run as a user types them, in a checkout where nothing was measured yet."""

import json
import os
import shutil
import subprocess
import sys

import pytest

BUILDS = pytest.mark.skipif(not (shutil.which("clang") and shutil.which("gcc")), reason="builds with clang and gcc")


@pytest.fixture
def without_compilers(tmp_path):
    """Return a PATH on which there is nothing."""
    (tmp_path / "empty").mkdir()
    return str(tmp_path / "empty")


@pytest.mark.parametrize("command", [["plan"], ["explain", "run_uprobe"], ["results"], ["list"], ["info", "run_uprobe"]])
def test_nothing_there_yet_is_no_error(checkout, command):
    ended = checkout.doit(*command)
    assert "Traceback" not in ended.stdout + ended.stderr
    assert ended.returncode == 0 if command[0] != "info" else ended.returncode in (0, 1)


def test_the_plan_of_an_empty_checkout(checkout):
    lines = checkout.doit("plan").stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]][-5:] == [
        "build_uprobe", "run_uprobe", "check_uprobe", "figure_uprobe", "report",
    ]  # fmt: skip
    measure = next(line for line in lines if line.startswith("run_uprobe"))
    assert "at most" in measure, "a measurement never made is bounded by its budget"
    assert "after build_uprobe" in measure
    assert "at most" in lines[-1]
    assert "of unknown length" in lines[-1]
    assert "disk: unknown" in lines[-1]


def test_the_plan_follows_the_budget(checkout):
    assert "at most 1 h 00 min" in checkout.doit("plan", "budget=1h").stdout


def test_a_missing_compiler_is_a_line_of_the_plan(checkout, tmp_path):
    """Headers are where they were, clang and gcc are not; our own calls of compilers use a fixed PATH."""
    checkout.edit("specs/packages/uprobe.yaml", "workloads/uprobe/program.bpf.c", "workloads/uprobe/gone.bpf.c")
    for command in (["plan"], ["explain", "build_uprobe"], ["list", "-s"]):
        ended = checkout.doit(*command)
        assert "Traceback" not in ended.stdout + ended.stderr


def test_what_the_system_lacks_is_planned_and_explained(checkout, without_compilers):
    plan = checkout.doit("plan", PATH=without_compilers).stdout
    assert "system:uprobe" in plan
    assert "clang" in next(line for line in plan.splitlines() if line.startswith("system:uprobe"))
    explained = checkout.doit("explain", "system:uprobe", PATH=without_compilers).stdout
    assert "clang: missing (compiles BPF programs)" in explained


def test_a_task_that_never_ran_is_explained_by_what_its_key_is_made_of(checkout):
    lines = checkout.doit("explain", "report").stdout.splitlines()
    assert lines[0].startswith("report: would run: never made before")
    assert any(line.startswith("  code: ") for line in lines)
    assert any("made from run_uprobe: would run" in line for line in lines)


@BUILDS
def test_an_edited_file_is_named_by_plan_and_explain(checkout):
    first = checkout.doit("build_uprobe")
    assert first.returncode == 0, first.stderr
    assert "✔ build_uprobe" in first.stdout
    again = checkout.doit("build_uprobe")
    assert again.stdout == "nothing to do: 2 tasks up to date\n"
    assert "build_uprobe: up to date" in checkout.doit("explain", "build_uprobe").stdout

    checkout.edit("workloads/uprobe/victim.c", "int main(", "/* edited */ int main(")
    explained = checkout.doit("explain", "build_uprobe").stdout
    assert "workloads/uprobe/victim.c: sha256-" in explained or "workloads/uprobe/victim.c: " in explained
    assert "victim.c" in checkout.doit("plan", "build_uprobe").stdout
    through = checkout.doit("explain", "run_uprobe").stdout
    assert "made from build_uprobe: would run" in through
    assert "victim.c" in through


@BUILDS
def test_a_plan_knows_what_a_build_took_before(checkout):
    checkout.doit("build_uprobe")
    checkout.edit("workloads/uprobe/victim.c", "int main(", "/* edited */ int main(")
    (line, total) = checkout.doit("plan", "build_uprobe").stdout.splitlines()
    assert "about" in line
    assert "disk: about" in total


@BUILDS
def test_tasks_alone_say_what_they_need(checkout):
    ended = checkout.doit("-s", "run_uprobe")
    assert ended.returncode == 1
    assert "build_uprobe must be run first" in ended.stdout
    ended = checkout.doit("-s", "check_uprobe")
    assert ended.returncode == 1
    assert "what it is made from is not there" in ended.stdout
    assert "Traceback" not in ended.stdout


@BUILDS
def test_doing_all_again_takes_it_from_the_store_and_ignored_tasks_are_named(checkout):
    checkout.doit("build_uprobe")
    item = next(path for path in (checkout.root / "vendor" / "store").iterdir() if path.name.endswith("-uprobe"))
    before = item.stat().st_ino
    assert "✔ build_uprobe" in checkout.doit("-a", "build_uprobe").stdout
    assert item.stat().st_ino == before
    assert checkout.doit("ignore", "build_uprobe").returncode == 0
    assert "forget build_uprobe" in checkout.doit("build_uprobe").stdout
    checkout.doit("forget", "build_uprobe")
    assert checkout.doit("build_uprobe").stdout == "nothing to do: 2 tasks up to date\n"


@BUILDS
def test_a_compiler_s_error_fails_the_task_and_says_where(checkout):
    checkout.edit("workloads/uprobe/victim.c", "int main(", "int nonsense here; int main(")
    ended = checkout.doit("build_uprobe")
    assert ended.returncode == 1
    assert "✘ build_uprobe" in ended.stdout
    assert "victim.c" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_unknown_names_suggest_the_nearest(checkout):
    for command in (["run_uprob"], ["plan", "run_uprob"], ["explain", "run_uprob"]):
        ended = checkout.doit(*command)
        assert ended.returncode == 3
        assert 'did you mean "run_uprobe"?' in ended.stderr
    ended = checkout.doit("results", "uprob")
    assert ended.returncode == 3
    assert 'did you mean "uprobe"?' in ended.stderr


@pytest.mark.parametrize("command", [[], ["list"], ["plan"], ["explain", "report"], ["results"], ["info", "report"], ["clean"]])
def test_a_broken_spec_is_an_error_without_traceback_in_every_command(checkout, command):
    checkout.edit("specs/profiles.yaml", "default: quick", "default: quik")
    ended = checkout.doit(*command)
    assert ended.returncode == 3
    assert "specs/profiles.yaml:" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_an_unknown_word_is_refused_before_anything_runs(checkout):
    ended = checkout.doit("profil=quick")
    assert ended.returncode == 3
    assert "profile" in ended.stderr
    assert not (checkout.root / "vendor").exists()


def test_nothing_measured_is_said_on_the_side_and_json_stays_json(checkout):
    ended = checkout.doit("results", "--json")
    assert json.loads(ended.stdout) == []
    assert "nothing measured here yet" in ended.stderr


def results_of(checkout):
    """Return where results of this machine would be shown."""
    said = checkout.doit("results").stderr
    return checkout.root / said.split(", in ")[1].splitlines()[0]


def test_results_as_objects_have_exactly_the_fields_that_are_promised(checkout, make):
    place = results_of(checkout)
    place.mkdir(parents=True)
    (place / "uprobe.json").write_text(json.dumps({**make(broken=True), "experiment": "uprobe"}))
    rows = json.loads(checkout.doit("results", "--json", "uprobe").stdout)
    assert rows
    for row in rows:
        assert list(row) == [
            "experiment", "case", "arm", "status", "reason", "metric", "unit", "direction", "n", "mean", "median",
            "low", "high", "proof", "engine", "backend", "profile", "verification",
        ]  # fmt: skip
        assert row["proof"] is None or list(row["proof"]) == ["expected", "observed"]
        assert (row["median"] is None) == (row["status"] != "ok")


@pytest.mark.parametrize("content", ["{", '{"schema": "bpfbench-result/1"}', '{"schema": "other"}'])
def test_unreadable_results_are_named_and_json_stays_json(checkout, content):
    place = results_of(checkout)
    place.mkdir(parents=True)
    (place / "uprobe.json").write_text(content)
    ended = checkout.doit("results", "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout) == []
    assert "Traceback" not in ended.stderr
    assert "result" in ended.stderr


def test_other_words_are_other_places(checkout):
    def place(*words):
        return checkout.doit("results", *words).stderr.split(", in ")[1].splitlines()[0].rsplit("/", 1)[1]

    places = [
        place(*words)
        for words in (
            [], ["take=b"], ["cases=uprobe"], ["cases=uretprobe"], ["arms=kernel"], ["profile=ci"],
            ["cases=uprobe", "arms=kernel"],
        )
    ]  # fmt: skip
    assert len(set(places)) == len(places)
    assert place("cases=uprobe,uretprobe") == place("cases=uretprobe,uprobe")
    assert place("budget=1m") == place()


@pytest.mark.parametrize("command", ["list", "plan", "results"])
def test_a_closed_pipe_is_no_traceback(checkout, command):
    path = f"{checkout.plugins}:{os.environ.get('PYTHONPATH', '')}"
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(
        [sys.executable, "-m", "doit", command], cwd=checkout.root, stdout=write_end, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "BENCH_CWD": str(checkout.root), "PYTHONPATH": path + ":" + str(checkout.source)},
        check=False, timeout=100,
    )  # fmt: skip
    os.close(write_end)
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


def test_letters_that_the_terminal_lacks_end_nothing(checkout):
    ended = checkout.doit("-s", "check_uprobe", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ended.returncode == 1
    assert "UnicodeEncodeError" not in ended.stdout + ended.stderr


def test_a_foreign_task_file_runs_with_this_environment_s_doit(checkout, tmp_path):
    (tmp_path / "dodo.py").write_text("def task_x():\n    return {'actions': ['true'], 'verbosity': 2}\n")
    ended = checkout.doit("-f", str(tmp_path / "dodo.py"), "x")
    assert ended.returncode == 0, ended.stderr
    ended = checkout.doit("plan", "-f", str(tmp_path / "dodo.py"))
    assert ended.returncode == 3
    assert "Traceback" not in ended.stderr
