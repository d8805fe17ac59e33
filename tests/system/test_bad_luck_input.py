"""Bad input: refused before anything runs, with file, line and field, and what to type."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .bad_luck import Checkout

pytestmark = pytest.mark.system

Another = Callable[[Checkout], Checkout]


def nothing_was_done(checkout: Checkout) -> bool:
    return not (checkout.root / "results").exists() and not checkout.store.root.exists()


def test_a_broken_spec_is_refused_with_its_place_and_the_field(bare: Checkout, another: Another) -> None:
    checkout = another(bare)
    checkout.edit("specs/experiments/tiny.yaml", "baseline: native", "baselin: native")
    done = checkout.fail(code=3)
    assert "tiny.yaml:6:1" in done.said
    assert "baselin" in done.said
    assert "baseline" in done.said
    assert nothing_was_done(checkout)
    checkout.edit("specs/experiments/tiny.yaml", "baselin: native", "baseline: native")
    assert checkout.doit("list").code == 0


def test_yaml_that_is_none_is_refused_with_its_place(bare: Checkout, another: Another) -> None:
    checkout = another(bare)
    checkout.edit("specs/profiles.yaml", "half_width: 50%", "half_width: [50%")
    done = checkout.fail(code=3)
    assert "profiles.yaml:" in done.said
    assert nothing_was_done(checkout)


def test_every_broken_spec_is_told_at_once(bare: Checkout, another: Another) -> None:
    checkout = another(bare)
    checkout.edit("specs/profiles.yaml", "sample_time: 2ms", "sample_time: 2 metres")
    checkout.edit("specs/runtimes/kernel.yaml", "kernel-uprobes", "kernel-probes")
    checkout.edit("specs/experiments/tiny.yaml", "arms: [native, kernel]", "arms: [native, colonel]")
    done = checkout.fail(code=3)
    for told in ("sample_time", "colonel"):
        assert told in done.said
    assert nothing_was_done(checkout)


def test_a_prerequisite_that_nobody_knows_is_refused(bare: Checkout, another: Another) -> None:
    checkout = another(bare)
    checkout.edit("specs/runtimes/kernel.yaml", "kernel-uprobes", "kernel-probes")
    done = checkout.fail(code=3)
    assert "kernel.yaml" in done.said
    assert "kernel-probes" in done.said
    assert "kernel-uprobes" in done.said  # as one of the names that it could be


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("profil=tiny",), ("profil", "profile")),
        (("profile=tinny",), ("tinny", "tiny")),
        (("arms=kernal",), ("kernal", "kernel")),
        (("cases=entri",), ("entri", "entry")),
        (("budget=soon",), ("budget", "soon")),
        (("run_tinny",), ("run_tinny", "run_tiny")),
        (("explain", "run_tinny"), ("run_tinny", "run_tiny")),
        (("plan", "run_tinny"), ("run_tinny", "run_tiny")),
        (("results", "tinny"), ("tinny", "tiny")),
        (("lits",), ("lits", "list")),
    ],
)
def test_a_misspelt_word_or_task_is_refused_with_a_suggestion(
    bare: Checkout, another: Another, words: tuple[str, ...], told: tuple[str, ...]
) -> None:
    checkout = another(bare)
    done = checkout.fail(*words, code=3, noise=False)
    for part in told:
        assert part in done.said
    assert nothing_was_done(checkout)


def test_an_input_file_that_is_not_there_is_named(bare: Checkout, another: Another) -> None:
    checkout = another(bare)
    shutil.rmtree(checkout.root / "workloads" / "common")
    done = checkout.fail()
    assert "workloads/common" in done.said
    assert checkout.items("uprobe") == []


def test_source_that_does_not_compile_fails_with_the_compilers_words(built: Checkout, another: Another) -> None:
    checkout = another(built)
    before = checkout.made()
    checkout.edit("workloads/uprobe/victim.c", "int main(", "int brain(")
    done = checkout.fail("build_uprobe")
    assert "brain" in done.said or "main" in done.said
    assert checkout.made() == before
    checkout.edit("workloads/uprobe/victim.c", "int brain(", "int main(")
    assert checkout.succeed("build_uprobe").executed == []


def test_a_file_in_the_place_of_a_directory_is_named(bare: Checkout, another: Another) -> None:
    checkout = another(bare)
    (checkout.root / "vendor").mkdir(exist_ok=True)
    (checkout.root / "vendor" / "store").write_text("not a directory")
    done = checkout.fail("build_uprobe")
    assert "vendor/store" in done.said


def test_everything_works_from_another_directory(complete: Checkout, another: Another, tmp_path: Path) -> None:
    checkout = another(complete)
    first = checkout.succeed(cwd=tmp_path)
    assert first.executed == [] or set(first.executed) <= {"check_tiny", "figure_tiny", "report", "run_tiny", "build_uprobe"}
    assert checkout.succeed(cwd=tmp_path).executed == []
    assert list(tmp_path.iterdir()) == []
    shown = json.loads(checkout.doit("results", "--json", cwd=tmp_path).out)
    assert {row["case"] for row in shown} == {"entry"}


def test_a_store_elsewhere_is_relative_to_where_one_stands(bare: Checkout, another: Another, tmp_path: Path) -> None:
    checkout = another(bare)
    done = checkout.doit("build_uprobe", "store=shared store", cwd=tmp_path)
    assert done.code == 0, done.said
    assert len([path for path in (tmp_path / "shared store").iterdir() if path.name.endswith("-uprobe")]) == 1
    assert not checkout.store.root.exists()


def test_it_works_without_a_utf_8_locale(complete: Checkout, another: Another) -> None:
    checkout = another(complete)
    plain = {"LANG": "C", "LC_ALL": "C"}
    done = checkout.doit(env=plain)
    assert done.code == 0, done.said
    shown = checkout.doit("results", env=plain)
    assert shown.code == 0, shown.said
    assert "entry" in shown.out
