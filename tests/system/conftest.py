"""Temporary checkouts for tests of what can go wrong: one template a session, made on first use, and copies of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.system.bad_luck", "tests.system.troubles")

from .bad_luck import Checkout, copy, kernel_obstacle, make_template, obstacle  # noqa: E402
from .packages_here import first, items, run, tree  # noqa: E402, F401 - fixtures

NAME = "bad luck, ü and ✓"
"""Every checkout lies in a directory that quoting, splitting and ASCII would break on."""


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A directory that other users can reach too, which pytest's own is not."""
    if why := obstacle():
        pytest.skip(why)
    place = Path(tempfile.mkdtemp(prefix="bpfbench-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def bare(ground: Path) -> Checkout:
    """A template in which nothing has been made."""
    return make_template(ground / "bare" / NAME)


@pytest.fixture(scope="session")
def built(bare: Checkout, ground: Path) -> Checkout:
    """A template with the package built."""
    checkout = copy(bare, ground / "built" / NAME)
    checkout.succeed("build_uprobe")
    return checkout


@pytest.fixture(scope="session")
def complete(built: Checkout, ground: Path) -> Checkout:
    """A template with everything done."""
    checkout = copy(built, ground / "complete" / NAME)
    checkout.succeed()
    return checkout


@pytest.fixture
def another(ground: Path) -> Iterator[Callable[[Checkout], Checkout]]:
    """Copies of a template, deleted after the test."""
    places = []

    def make(template: Checkout) -> Checkout:
        places.append(Path(tempfile.mkdtemp(dir=ground)))
        places[-1].chmod(0o755)
        return copy(template, places[-1] / NAME)

    yield make
    for place in places:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def kernel_arm() -> None:
    """Skip where the kernel arm cannot be measured."""
    if why := kernel_obstacle():
        pytest.skip(why)
