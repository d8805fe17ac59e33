"""The recipe of our own workloads, on small packages built by the real compilers."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfbench.build import reads, workload
from bpfbench.build.invoke import Outcome, invoke, supervised
from bpfbench.errors import BenchError
from bpfbench.model.types import Artefact, Package
from bpfbench.process.reaper import Reaper
from bpfbench.store.keys import changes, make_key
from bpfbench.store.nar import nar_hash

pytestmark = pytest.mark.system


def key(package: Package, root: Path, cache: Path) -> str:
    return make_key("build", workload.key_components(package, root, cache=cache)).digest


def built(package: Package, root: Path, tree: Path, cache: Path) -> Path:
    workload.make(package, root, tree, cache=cache)
    return tree


def test_all_artefacts_and_nothing_else_are_in_the_tree(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    tree = built(package, checkout, tmp_path / "tree", cache)
    files = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if not path.is_dir()}
    assert files == {"bin/main", "probe.bpf.o"}
    assert subprocess.run([tree / "bin/main"], check=False).returncode == 42
    assert (tree / "probe.bpf.o").read_bytes()[18:20] == b"\xf7\x00", "the object is for the BPF machine"


def test_the_same_bytes_wherever_the_checkout_lies_and_whenever(
    checkout: Path, package: Package, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "a much longer name, with spaces" / "and-one-more-level" / "checkout"
    shutil.copytree(checkout, other)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    # __FILE__ and a debugger's view of the sources are where paths creep in
    for root in (checkout, other):
        (root / "src/main.c").write_text(
            'const char *here = __FILE__ __DATE__;\nint main(void)\n{\n\treturn !here;\n}\n'
        )
    first = built(package, checkout, tmp_path / "1", cache)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CPATH", "/nonexistent")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567890")
    monkeypatch.chdir(other)
    second = built(package, other, tmp_path / "deeper" / "2", tmp_path / "other-cache")
    assert nar_hash(first) == nar_hash(second)
    assert key(package, checkout, cache) == key(package, other, cache)


def test_no_output_names_the_checkout_or_the_scratch_directory(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    tree = built(package, checkout, tmp_path / "tree", cache)
    for file in (tree / "bin/main", tree / "probe.bpf.o"):
        assert str(tmp_path).encode() not in file.read_bytes()


@pytest.mark.parametrize(("file", "component"), [("src/main.c", "inputs"), ("src/answer.h", "inputs")])
def test_an_edit_changes_the_key_and_says_where(
    checkout: Path, package: Package, cache: Path, file: str, component: str
) -> None:
    before = workload.key_components(package, checkout, cache=cache)
    (checkout / file).write_text((checkout / file).read_text() + "\n")
    after = workload.key_components(package, checkout, cache=cache)
    assert [change.path for change in changes(before, after)] == [f"{component}.{file}"]


def test_flags_and_options_change_the_key(checkout: Path, package: Package, cache: Path) -> None:
    main, probe = package.artefacts
    variants = [
        package,
        replace(package, artefacts=(replace(main, flags=("-DX",)), probe)),
        replace(package, artefacts=(main, replace(probe, flags=("-mcpu=v2",)))),
        replace(package, artefacts=(replace(main, libraries=("m",)), probe)),
        replace(package, artefacts=(replace(main, libraries=("m",)), probe), options={"static": ["m"]}),
    ]
    assert len({key(variant, checkout, cache) for variant in variants}) == len(variants)


def test_static_libraries_go_into_the_program(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    source = "#include <zlib.h>\nint main(void)\n{\n\treturn !zlibVersion();\n}\n"
    (checkout / "src/main.c").write_text(source)
    main = replace(package.artefacts[0], libraries=("z",))
    for static in ([], ["z"]):
        variant = replace(package, artefacts=(main,), options={"static": static})
        program = built(variant, checkout, tmp_path / f"tree{len(static)}", cache) / "bin/main"
        needed = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
        assert ("libz.so" in needed) == (not static)


@pytest.mark.parametrize("options", [{"level": 1}, {"static": ["nothing_links_this"]}])
def test_a_wrong_option_is_named_with_its_place(
    checkout: Path, package: Package, cache: Path, options: dict[str, object]
) -> None:
    with pytest.raises(BenchError, match=r"specs/packages/thing\.yaml:1:1: .*(level|nothing_links_this)"):
        key(replace(package, options=options), checkout, cache)


def test_a_system_header_is_part_of_the_key(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    system = tmp_path / "usr-include"
    system.mkdir()
    (system / "vendor.h").write_text("#define VENDOR 1\n")
    (checkout / "src/main.c").write_text("#include <vendor.h>\nint main(void)\n{\n\treturn VENDOR;\n}\n")
    main, probe = package.artefacts
    package = replace(package, artefacts=(replace(main, includes=(str(system),)), probe))
    before = workload.key_components(package, checkout, cache=cache)
    (system / "vendor.h").write_text("#define VENDOR 2\n")
    after = workload.key_components(package, checkout, cache=cache)
    assert [change.path for change in changes(before, after)] == [f"system.{system}/vendor.h"]


def test_a_file_outside_the_inputs_is_refused_before_anything_is_built(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    (checkout / "other").mkdir()
    (checkout / "other/secret.h").write_text("#define SECRET 1\n")
    (checkout / "src/answer.h").write_text('#include "../other/secret.h"\n#define ANSWER SECRET\n')
    with pytest.raises(BenchError, match=r"other/secret\.h.*not among its inputs"):
        workload.key_components(package, checkout, cache=cache)
    with pytest.raises(BenchError, match=r"other/secret\.h"):
        workload.make(package, checkout, tmp_path / "tree", cache=cache)


def test_a_header_that_slips_in_between_key_and_build_is_refused(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    system = tmp_path / "usr-include"
    system.mkdir()
    (checkout / "src/main.c").write_text(
        "#if __has_include(<late.h>)\n#include <late.h>\n#endif\nint main(void)\n{\n\treturn 0;\n}\n"
    )
    main, probe = package.artefacts
    package = replace(package, artefacts=(replace(main, includes=(str(system),)), probe))

    def install_then_run(argv: Sequence[str], cwd: Path, **options: Any) -> Outcome:
        (system / "late.h").touch()
        return invoke(argv, cwd, **options)

    with pytest.raises(BenchError, match=r"key does not cover: .*late\.h"):
        workload.make(package, checkout, tmp_path / "tree", cache=cache, run=install_then_run)


def test_a_compiler_error_has_file_and_line_and_can_be_repeated(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    (checkout / "src/main.c").write_text("int main(void)\n{\n\treturn undeclared_name;\n}\n")
    with pytest.raises(BenchError) as error:
        workload.make(package, checkout, tmp_path / "tree", cache=cache)
    assert "src/main.c:3:" in error.value.message
    assert "undeclared_name" in error.value.message
    command = str(error.value.hint).removeprefix("repeat with: ")
    again = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert again.returncode != 0
    assert "undeclared_name" in again.stderr


def test_a_warning_is_an_error_in_bpf_too(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    (checkout / "src/probe.bpf.c").write_text("int probe(int unused)\n{\n\treturn 0;\n}\n")
    with pytest.raises(BenchError, match=r"src/probe\.bpf\.c:1:"):
        workload.make(package, checkout, tmp_path / "tree", cache=cache)


def test_a_missing_header_and_a_missing_library_are_named(
    checkout: Path, package: Package, cache: Path
) -> None:
    main, probe = package.artefacts
    lost = replace(package, artefacts=(replace(main, libraries=("no_such_library",)), probe))
    with pytest.raises(BenchError, match="no_such_library"):
        workload.key_components(lost, checkout, cache=cache)
    (checkout / "src/answer.h").write_text("#include <no/such/header.h>\n")
    with pytest.raises(BenchError, match=r"answer\.h:1:.*no/such/header\.h"):
        workload.key_components(package, checkout, cache=cache)


def test_a_shared_library_can_be_made(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    (checkout / "src/shared.c").write_text("int answer(void);\nint answer(void)\n{\n\treturn 42;\n}\n")
    package = replace(package, artefacts=(Artefact("libanswer.so", "shared-library", ("src/shared.c",)),))
    tree = built(package, checkout, tmp_path / "tree", cache)
    symbols = subprocess.run(["nm", "-D", tree / "libanswer.so"], capture_output=True, text=True, check=True)
    assert " T answer" in symbols.stdout


def test_a_bpf_object_has_one_source(checkout: Path, package: Package, cache: Path) -> None:
    two = Artefact("x.bpf.o", "bpf-object", ("src/probe.bpf.c", "src/main.c"))
    package = replace(package, artefacts=(two,))
    with pytest.raises(BenchError, match=r"x\.bpf\.o: .*exactly one source"):
        workload.key_components(package, checkout, cache=cache)


def test_looking_twice_starts_no_compiler(
    checkout: Path, package: Package, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = key(package, checkout, cache)
    monkeypatch.setattr(reads, "invoke", lambda *_: pytest.fail("a compiler was started"))
    monkeypatch.setattr("bpfbench.build.toolchain.invoke", lambda *_: pytest.fail("a compiler was started"))
    assert key(package, checkout, cache) == first


def test_the_build_runs_under_the_reaper(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    alone = built(package, checkout, tmp_path / "alone", cache)
    with Reaper("test-build") as reaper:
        workload.make(package, checkout, tmp_path / "tree", cache=cache, run=supervised(reaper, logs))
        (checkout / "src/main.c").write_text("int main(void)\n{\n\treturn undeclared_name;\n}\n")
        # preprocessing is enough for the key, so it is the supervised compiler that refuses
        with pytest.raises(BenchError, match=r"src/main\.c:3:"):
            run = supervised(reaper, logs / "bad")
            workload.make(package, checkout, tmp_path / "bad", cache=cache, run=run)
    assert nar_hash(tmp_path / "tree") == nar_hash(alone)
    assert len(list(logs.glob("*.err"))) == 3, "two compilations and a link"


# made from another package

ANSWER = "#include <word.h>\nint main(void)\n{\n\treturn WORD;\n}\n"
FOUND_BY = ("-I{package:library}/include",)


def with_library(checkout: Path, package: Package) -> Package:
    (checkout / "src/main.c").write_text(ANSWER)
    main, _ = package.artefacts
    return replace(package, depends=("library",), artefacts=(replace(main, flags=FOUND_BY),))


def library(place: Path, word: str = "42") -> Path:
    (place / "include").mkdir(parents=True)
    (place / "include/word.h").write_text(f"static inline int word(void)\n{{\n\treturn {word};\n}}\n#define WORD word()\n")
    return place


def test_headers_of_a_dependency_are_found_wherever_it_lies(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    """Below the checkout, as in its own store, and elsewhere: the output names neither place."""
    package = with_library(checkout, package)
    trees, keys = [], []
    for number, place in enumerate((checkout / "vendor/store/1-library/tree", tmp_path / "a store, ü/2-library/tree")):
        depends = {"library": library(place)}
        trees.append(tmp_path / f"tree{number}")
        workload.make(package, checkout, trees[-1], cache=cache, depends=depends)
        keys.append(workload.key_components(package, checkout, cache=cache, depends=depends))
        assert subprocess.run([trees[-1] / "bin/main"], check=False).returncode == 42
        assert os.fsencode(place) not in (trees[-1] / "bin/main").read_bytes()
    assert nar_hash(trees[0]) == nar_hash(trees[1])
    assert keys[0] == keys[1]
    assert not any("word.h" in path for path in keys[0]["system"])


def test_a_change_in_a_dependency_reaches_the_output(
    checkout: Path, package: Package, cache: Path, tmp_path: Path
) -> None:
    package = with_library(checkout, package)
    for word in ("41", "43"):
        tree = tmp_path / word
        workload.make(package, checkout, tree, cache=cache, depends={"library": library(tmp_path / f"library {word}", word)})
        assert subprocess.run([tree / "bin/main"], check=False).returncode == int(word)


def test_a_package_that_is_no_dependency_is_refused_with_its_place(checkout: Path, package: Package, cache: Path) -> None:
    package = replace(with_library(checkout, package), depends=())
    with pytest.raises(BenchError, match=r"thing\.yaml:1:1: bin/main: \{package:library\} in .* is not among the packages"):
        workload.key_components(package, checkout, cache=cache)
