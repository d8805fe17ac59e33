"""What tests of several folders use. No property test has a deadline, since no test of ours asserts how long something takes."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("bench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bench")

TESTS = Path(__file__).parent


def load(path):
    """Return the module in a file that is no package's."""
    spec = importlib.util.spec_from_file_location(f"bpfbench_tests_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make():
    """Return ``sample.make``, which invents results."""
    return load(TESTS / "report" / "sample.py").make


@pytest.fixture(scope="session")
def new_checkout():
    """Return the class of checkouts of their own in which doit can be run."""
    return load(TESTS / "commands" / "checkout.py").Checkout


@pytest.fixture
def checkout(new_checkout, tmp_path):
    """Return a checkout of its own in which doit can be run."""
    return new_checkout(tmp_path / "checkout")
