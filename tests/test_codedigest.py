from pathlib import Path

from bpfbench.codedigest import CodeDigests, digest_of

CODE = '"""Doc."""\n\ndef double(x):\n    """Doc."""\n    # why\n    return 2 * x\n'


def test_comments_docstrings_and_layout_do_not_change_the_digest():
    other = '"""Other."""\ndef double(x):\n\n    "mended"\n    return 2*x\n'
    assert digest_of(CODE) == digest_of(other)


def test_what_the_code_does_changes_the_digest():
    assert digest_of(CODE) != digest_of(CODE.replace("2 *", "3 *"))
    assert digest_of(CODE) != digest_of(CODE.replace("double", "twice"))


def test_strings_that_are_no_docstrings_count():
    assert digest_of("x = 'a'") != digest_of("x = 'b'")


def test_a_folder_stands_for_all_modules_below_it(tmp_path):
    found = CodeDigests(tmp_path / "code.json").of(["stats", "steps.py"])
    assert "steps.py" in found
    assert {name for name in found if name.startswith("stats/")} >= {"stats/summary.py", "stats/compare.py"}


def test_the_cache_gives_the_same_and_survives_rubbish(tmp_path):
    cache = tmp_path / "code.json"
    first = CodeDigests(cache).of(["steps.py"])
    assert CodeDigests(cache).of(["steps.py"]) == first
    for rubbish in ("", "[1]", '{"a": 1}', "\x00"):
        cache.write_text(rubbish)
        assert CodeDigests(cache).of(["steps.py"]) == first


def test_an_unwritable_cache_is_no_error():
    assert CodeDigests(Path("/proc/none/code.json")).of(["steps.py"])
