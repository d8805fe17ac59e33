import copy
import io
import json
from types import SimpleNamespace

import pytest

from bpfbench.commands.closing import arm_table, close, shown_results
from bpfbench.commands.told import summary
from bpfbench.errors import BenchError
from bpfbench.layout import Layout
from bpfbench.resultfile import read_result


@pytest.fixture
def here(tmp_path):
    results = tmp_path / "results" / "machine" / "quick"
    results.mkdir(parents=True)
    names = [SimpleNamespace(name=name) for name in ("uprobe", "other")]
    return SimpleNamespace(results=results, cwd=tmp_path, chosen=names, layout=Layout.of(tmp_path))


def put(here, result, name="uprobe"):
    (here.results / f"{name}.json").write_text(json.dumps(result))


def closing(here, *settled):
    out = io.StringIO()
    return close(here, settled, out), out.getvalue()


def test_every_arm_stands_there_with_its_status_and_reasons(here, make):
    put(here, make(broken=True))
    well, text = closing(here, "run_uprobe")
    result = make(broken=True)
    for arm in result["arms"]:
        assert any(line.split()[:3] == [result["experiment"], arm["name"], arm["status"]] for line in text.splitlines())
    for cell in result["cells"]:
        if cell["status"] != "ok":
            assert cell["reason"].split("\n")[0][:30] in text
    assert well is (result["status"] != "failed")


def test_a_failed_arm_fails_the_call_and_an_unsupported_one_does_not(here, make):
    result = make(("native", "kernel"), broken=False)
    for cell in result["cells"]:
        if cell["arm"] == "kernel":
            cell.update(status="unsupported", reason="no BPF here", metrics={})
    result["arms"][1].update(status="unsupported", reason="no BPF here")
    put(here, result)
    well, text = closing(here, "run_uprobe")
    assert well
    assert "unsupported: all cases: no BPF here" in text.splitlines()[-1]
    put(here, {**copy.deepcopy(result), "status": "failed"})
    assert not closing(here, "run_uprobe")[0]


def test_what_this_call_did_not_look_at_is_not_told(here, make):
    put(here, {**make(broken=True), "status": "failed"})
    assert closing(here, "build_uprobe", "report") == (True, "")


def test_the_report_is_named_as_one_would_type_it(here, make):
    put(here, make())
    (here.results / "report.html").write_text("x")
    assert "report: results/machine/quick/report.html\n" in closing(here, "run_uprobe", "report")[1]
    assert "report:" not in closing(here, "run_uprobe")[1]


def test_a_result_that_cannot_be_read_is_told_and_fails_the_call(here):
    (here.results / "uprobe.json").write_text("{")
    well, text = closing(here, "run_uprobe")
    assert not well
    assert "uprobe.json: not a readable result" in text
    assert "./bench run_uprobe" in text


@pytest.mark.parametrize("content", ["", "[]", '{"schema": "bpfbench-result/9"}', "\xff\xfe"])
def test_what_is_no_result_is_a_clear_error(tmp_path, content):
    path = tmp_path / "uprobe.json"
    path.write_text(content, "latin-1")
    with pytest.raises(BenchError, match="uprobe"):
        read_result(path)


def test_a_missing_result_is_none(tmp_path):
    assert read_result(tmp_path / "x.json") is None


def test_readable_results_are_shown_beside_broken_ones(here, make):
    put(here, make())
    (here.results / "other.json").write_text("{")
    results, problems = shown_results(here, ["other", "uprobe"])
    assert results == [make()]
    assert len(problems) == 1


def test_columns_are_aligned_over_experiments(make):
    one, two = make(), {**make(), "experiment": "a_long_name"}
    lines = arm_table([summary(one), summary(two)])
    heads = [line for line in lines if not line.startswith(" ")]
    assert len(heads) == len(one["arms"]) + len(two["arms"])
    assert len({line.index("  ok") for line in heads if "  ok" in line}) == 1


def test_reasons_with_many_lines_take_one():
    result = {"experiment": "x", "status": "failed", "arms": [{"name": "a", "status": "failed"}]}
    result["cells"] = [{"arm": "a", "case": "c", "status": "failed", "reason": "first\nsecond\x1b[31m"}]
    assert arm_table([summary(result)])[1:] == ["  failed: c: first second[31m"]
