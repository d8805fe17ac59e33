import importlib.util
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1] / "commands" / "checkout.py"


@pytest.fixture(scope="session")
def new_checkout():
    """Return the class of checkouts that tests of commands use."""
    spec = importlib.util.spec_from_file_location("bpfbench_tests_checkout", CHECKOUT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Checkout


@pytest.fixture
def checkout(new_checkout, tmp_path):
    """Return a checkout of its own in which doit can be run."""
    return new_checkout(tmp_path / "checkout")
