"""``doit lock`` as one types it: what is different is shown, and nothing is overwritten unasked."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..faults.mirror import Mirrors
from ..faults.world import _URL
from ..fetch.hostile import info, tar
from .bad_luck import Checkout

pytestmark = pytest.mark.system

OTHER = gzip.compress(tar((info("small-1/a"), b"other")), mtime=0)


@dataclass(frozen=True)
class Sources:
    """A checkout with two sources, and where they come from."""

    checkout: Checkout
    mirrors: Mirrors

    def lock(self, *words: str, code: int = 0) -> str:
        done = self.checkout.doit("lock", *words, noise=False)
        assert done.code == code, done.said
        assert "Traceback" not in done.said
        return done.said

    def entry(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.file.read_bytes())["sources"][name])

    @property
    def file(self) -> Path:
        return self.checkout.root / "vendor" / "sources.lock.json"


@pytest.fixture
def sources(bare: Checkout, another: Callable[[Checkout], Checkout], tmp_path: Path) -> Iterator[Sources]:
    checkout, mirrors = another(bare), Mirrors(tmp_path)
    for name, text in mirrors.specs().items():
        checkout.spec(name).parent.mkdir(exist_ok=True)
        checkout.spec(name).write_text(text)
    checkout.edit("schemas/source.json", _URL, "^\\\\S+$")  # the tests' origins are on this machine
    yield Sources(checkout, mirrors)
    mirrors.close()


def test_lock_shows_what_is_new_what_stays_and_what_moves(sources: Sources) -> None:
    first = sources.lock()
    assert "mirrored: locked at 1" in first and "cloned: locked at main" in first
    before, text = sources.entry("cloned"), sources.file.read_bytes()
    assert "mirrored: unchanged, 1" in sources.lock("mirrored")
    assert sources.file.read_bytes() == text
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "-am", "more"]
    (sources.mirrors.repository / "data" / "1").write_text("more\n")
    subprocess.run(git, cwd=sources.mirrors.repository, check=True)
    said, now = sources.lock("cloned"), sources.entry("cloned")
    assert f"revision {before['revision']} → {now['revision']}" in said
    assert before["hash"] in said and now["hash"] in said and before["hash"] != now["hash"]
    assert sources.lock("mirrored", "to=1.1").startswith("mirrored: 1 → 1.1\n")
    assert sources.entry("mirrored")["reference"] == "1.1"
    assert 'reference: "1.1"' in sources.checkout.spec("sources/mirrored.yaml").read_text()


def test_other_content_under_the_same_name_is_shown_and_not_taken(sources: Sources) -> None:
    sources.lock()
    before, text = sources.entry("mirrored"), sources.file.read_bytes()
    sources.mirrors.archive = OTHER
    said = sources.lock("mirrored", code=1)
    assert f"expected {before['hash']}" in said and "got      sha256-" in said and "--accept" in said
    sources.checkout.store.remove(next(item.id for item in sources.checkout.items("mirrored")))
    fetched = sources.checkout.fail("fetch_mirrored", noise=False)
    for pin in before["pins"]:
        assert pin["sha256"] in fetched.said
    assert "./bench lock mirrored" in fetched.said
    assert sources.file.read_bytes() == text and not sources.checkout.items("mirrored")
    assert sources.entry("mirrored") == before
    assert before["hash"] in sources.lock("mirrored", "--accept")
    assert sources.entry("mirrored")["hash"] != before["hash"]
    assert sources.checkout.doit("fetch_mirrored", noise=False).code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [(("mirorred",), '"mirrored"'), (("to=2",), "name of one source"), (("mirrored", "cloned", "to=2"), "name of one source")],
)
def test_what_lock_refuses(sources: Sources, words: tuple[str, ...], told: str) -> None:
    assert told in sources.lock(*words, code=3)
    assert not sources.file.exists()
