"""Third-party packages really used: servers answer, file systems mount, compilers compile, libraries are linked.

Of nginx and wrk in test_packages_nginx.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .packages import model
from .packages_here import SOON, Run, Tree, say, until

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.mark.parametrize(
    ("name", "program", "function"),
    [
        ("nginx", "sbin/nginx", "ngx_http_process_request"),
        ("redis", "bin/redis-server", "processCommand"),
        ("libfuse", "bin/passthrough", "fuse_session_process_buf"),
        ("wrk", "bin/wrk", "ssl_connect"),
    ],
)
def test_programs_to_be_probed_keep_their_symbols(name: str, program: str, function: str, tree: Tree) -> None:
    sections = say("readelf", "--sections", "--wide", tree(name) / program)
    assert " .symtab " in sections
    assert " .debug_info " in sections
    symbols = say("nm", "--defined-only", tree(name) / program).splitlines()
    assert any(line.lower().split()[1:] == ["t", function.lower()] for line in symbols)


def test_redis_answers(tree: Tree, run: Run, tmp_path: Path) -> None:
    programs = tree("redis") / "bin"
    options = ("--port", 0, "--unixsocket", "socket", "--dir", tmp_path, "--save", "", "--appendonly", "yes")
    process = run(programs / "redis-server", *options)
    until((tmp_path / "socket").exists, process)
    client = (programs / "redis-cli", "-s", tmp_path / "socket")
    assert say(*client, "PING") == "PONG\n"
    assert say(*client, "SET", "key", "value") == "OK\n"
    assert say(*client, "GET", "key") == "value\n"
    info = say(*client, "INFO")
    assert "redis_version:7.0.15" in info
    assert "mem_allocator:jemalloc" in info
    assert "redis_git_sha1:00000000" in info
    assert '"SET"' in say(
        programs / "redis-benchmark", "-s", tmp_path / "socket", "-n", 100, "-c", 2, "-t", "set", "--csv"
    )


@pytest.mark.parametrize("program", ["passthrough", "passthrough_ll", "passthrough_hp"])
def test_passthrough_mounts_reads_writes_and_unmounts(program: str, tree: Tree, run: Run, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("needs root and /dev/fuse")
    below, mount = tmp_path / "below", tmp_path / "mount"
    below.mkdir()
    mount.mkdir()
    (below / "file").write_text("read through FUSE")
    binary = tree("libfuse") / "bin" / program
    arguments: dict[str, list[object]] = {
        "passthrough": ["-f", "-o", f"modules=subdir,subdir={below}", mount],
        "passthrough_ll": ["-f", "-o", f"source={below}", mount],
        "passthrough_hp": [below, mount],
    }
    process = run(binary, *arguments[program])
    try:
        until(lambda: os.path.ismount(mount), process)
        assert (mount / "file").read_text() == "read through FUSE"
        (mount / "new").write_text("written through FUSE")
        assert (below / "new").read_text() == "written through FUSE"
        say("umount", mount)
        assert process.wait(SOON) == 0, process.stdout and process.stdout.read()
        assert not os.path.ismount(mount)
        assert list(mount.iterdir()) == []
    finally:
        if os.path.ismount(mount):
            subprocess.run(["umount", "-l", str(mount)], check=False, capture_output=True)


def test_luajit_evaluates_and_compiles(tree: Tree, tmp_path: Path) -> None:
    program = tree("luajit") / "bin" / "luajit"
    code = "local s = 0; for i = 1, 1e6 do s = s + i end; io.write(s, ' ', tostring(jit.status()))"
    assert say(program, "-e", code) == "500000500000 true"
    (tmp_path / "part.lua").write_text("return 6 * 7")
    environment = {"LUA_PATH": f"{tree('luajit')}/share/?.lua"}
    say(program, "-b", "part.lua", "part.out", cwd=tmp_path, env=environment)
    assert say(program, "-e", "io.write(dofile('part.out'))", cwd=tmp_path) == "42"


def test_luajit_can_be_linked(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(
        "#include <lua.h>\n#include <lauxlib.h>\n#include <lualib.h>\n"
        "int main(void)\n{\n\tlua_State *state = luaL_newstate();\n\tluaL_openlibs(state);\n"
        '\treturn luaL_dostring(state, "return 42") ? 1 : (int)lua_tointeger(state, -1);\n}\n'
    )
    library = tree("luajit")
    libraries = (f"{library}/lib/libluajit.a", "-lm", "-ldl")
    say("gcc", f"-I{library}/include", "main.c", *libraries, "-o", "main", cwd=tmp_path)
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 42


def test_wasm2c_translates_to_c_that_computes(tree: Tree, tmp_path: Path) -> None:
    wabt = tree("wabt")
    (tmp_path / "six.wat").write_text(
        '(module (func (export "times") (param i32 i32) (result i32) local.get 0 local.get 1 i32.mul))'
    )
    say(wabt / "bin" / "wat2wasm", "six.wat", "-o", "six.wasm", cwd=tmp_path)
    say(wabt / "bin" / "wasm2c", "six.wasm", "-o", "six.c", cwd=tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "six.h"\nint main(void)\n{\n\tZ_six_instance_t six;\n'
        "\twasm_rt_init();\n\tZ_six_init_module();\n"
        "\tZ_six_instantiate(&six);\n\treturn (int)Z_sixZ_times(&six, 6, 7);\n}\n"
    )
    share = wabt / "share" / "wasm2c"
    sources = ("main.c", "six.c", share / "wasm-rt-impl.c")
    say("gcc", f"-I{share}", "-I.", *sources, "-lm", "-o", "main", cwd=tmp_path)
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 42


USES = {
    "frida": "import frida; print(frida.__version__, frida.__file__)",
    "wasmtime": (
        "import wasmtime as w; e = w.Engine(); s = w.Store(e); "
        "m = w.Module(e, '(module (func (export \"f\") (result i32) i32.const 42))'); "
        "print(w.Instance(s, m, []).exports(s)['f'](s), w.__file__)"
    ),
}


@pytest.mark.parametrize("name", sorted(USES))
def test_wheels_are_imported_from_the_store(name: str, tree: Tree) -> None:
    place = tree(name)
    environment = {"PYTHONPATH": str(place), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    version, path = say(sys.executable, "-S", "-c", USES[name], env=environment).split()
    assert version == {"frida": model().sources["frida"].reference, "wasmtime": "42"}[name]
    assert Path(path).is_relative_to(place)


ENGINE = """\
#include <stdio.h>
#include <rte_bpf.h>

/* r0 = first word of the context, times 7 */
static const struct ebpf_insn program[] = {
	{ .code = BPF_LDX | BPF_MEM | EBPF_DW, .dst_reg = EBPF_REG_0, .src_reg = EBPF_REG_1 },
	{ .code = EBPF_ALU64 | BPF_MUL | BPF_K, .dst_reg = EBPF_REG_0, .imm = 7 },
	{ .code = BPF_JMP | EBPF_EXIT },
};

int main(void)
{
	const struct rte_bpf_prm parameters = {
		.ins = program,
		.nb_ins = RTE_DIM(program),
		.prog_arg = { .type = RTE_BPF_ARG_PTR, .size = 8 },
	};
	struct rte_bpf *bpf = rte_bpf_load(&parameters);
	struct rte_bpf_jit jit;
	uint64_t context = 6;

	if (!bpf || rte_bpf_get_jit(bpf, &jit) || !jit.func)
		return 1;
	printf("%d %d\\n", (int)rte_bpf_exec(bpf, &context), (int)jit.func(&context));
	return 0;
}
"""


def test_librte_bpf_links_and_runs_a_program_on_both_engines(tree: Tree, tmp_path: Path) -> None:
    place = tree("librte_bpf")
    (tmp_path / "main.c").write_text(ENGINE)
    libraries = ("-Wl,--start-group", *sorted((place / "lib").glob("*.a")), "-Wl,--end-group")
    system = ("-lelf", "-lz", "-lpthread", "-ldl", "-lm", "-lrt")
    flags = ("-O2", "-march=corei7", "-include", "rte_config.h", f"-I{place}/include")
    say("gcc", *flags, "main.c", *libraries, *system, "-o", "main", cwd=tmp_path)
    assert say(tmp_path / "main") == "42 42\n"
