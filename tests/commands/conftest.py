import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def load(path):
    spec = importlib.util.spec_from_file_location(f"bpfbench_tests_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make():
    """Return ``sample.make``, which invents results."""
    return load(HERE.parent / "report" / "sample.py").make


@pytest.fixture
def checkout(tmp_path):
    """Return a checkout of its own in which doit can be run."""
    return load(HERE / "checkout.py").Checkout(tmp_path / "checkout")
