"""The module in a real nginx under a real load, with every engine; and engines that are none.

Long: nginx, LuaJIT and wabt are built where the store does not have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from .packages_here import Tree
from .servers import Servers, servers

pytestmark = [pytest.mark.system, pytest.mark.long]
ENGINES = {
    "c": (), "embedded": (), "luajit": ("nginx_module-lua",), "wasm2c": ("nginx_module-wasm2c",),
    "wasm2c-checked": ("nginx_module-wasm2c",), "wasmtime": ("nginx_module-wasm", "nginx_module-wasmtime", "wasmtime"),
}  # fmt: skip


@pytest.fixture
def loaded(tree: Tree, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Servers]:
    more = ENGINES.get(request.param, ())
    outputs = {name: tree(name) for name in ("nginx", "wrk", "openloop", "nginx_module", *more)}
    with servers("nginx_module", outputs, tmp_path) as found:
        yield found


@pytest.mark.parametrize("loaded, arm", [(arm, arm) for arm in ("none", *ENGINES)], indirect=["loaded"])
def test_every_engine_answers_counts_and_stays_in_its_memory(loaded: Servers, arm: str) -> None:
    samples = loaded.take("small", arm)
    assert [(sample.status, sample.reason) for sample in samples] == [("ok", None)] * 2
    for sample in samples:
        assert sample.proof is not None and sample.proof.holds
    if arm != "none":
        assert samples[0].evidence["trespass"]["read"] == (16 if arm == "c" else 0)


@pytest.mark.parametrize("loaded", ["c"], indirect=True)
@pytest.mark.parametrize(
    "engine, words",
    [
        (["/missing.so"], "cannot open shared object"),
        (["{package:nginx_module}/gate.so"], "is no engine"),
        (["{package:nginx_module}/embedded.so", "{package:nginx_module}/c.so"], "c.so"),
    ],
)
def test_what_is_no_engine_fails_with_the_reason(loaded: Servers, engine: list[str], words: str) -> None:
    cell = loaded.cell("small", "embedded")
    cell = replace(cell, arm=replace(cell.arm, options={"engine": engine}))
    sample, _ = loaded.driver.pilot(loaded.bench, cell)
    assert sample.status == "failed"
    assert words in str(sample.reason)
