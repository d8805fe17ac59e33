"""Third-party packages really used: servers serve, file systems mount, compilers compile, libraries are linked.

What a later experiment needs of one is shown here: modules of ours in nginx, symbols for probes, scripts in wrk.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfbench.store.tree import delete

from .packages import model
from .packages_here import Tree

SOON = 20.0

Run = Callable[..., subprocess.Popen[str]]

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start servers that end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: object, **options: Any) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(
            list(map(str, argv)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        process.terminate()
        try:
            process.wait(SOON)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def say(*argv: object, **options: Any) -> str:
    done = subprocess.run(
        list(map(str, argv)), capture_output=True, text=True, check=False, timeout=120, **options
    )
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return str(done.stdout)


def until(happened: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + SOON
    while not happened():
        if process and process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {process.stdout.read() if process.stdout else ''}")
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


CONFIGURATION = """\
daemon off;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate cert.pem;
        ssl_certificate_key key.pem;
        root www;
    }}
}}
"""
PAGE = "a page of 4 KiB" + "." * 4081


@pytest.fixture
def nginx(tree: Tree, run: Run) -> Iterator[int]:
    """An nginx that serves one page over TLS 1.3 on the port that is returned."""
    if shutil.which("openssl") is None:
        pytest.skip("not installed: openssl")
    # Its worker is another user when root starts it, so not in a directory of pytest's.
    place = Path(tempfile.mkdtemp(prefix="bpfbench-test-"))
    place.chmod(0o755)
    (place / "www").mkdir()
    (place / "www" / "page.txt").write_text(PAGE)
    say(
        "openssl", "req", "-x509", "-nodes", "-days", "1",
        "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-subj", "/CN=localhost", "-keyout", place / "key.pem", "-out", place / "cert.pem",
    )  # fmt: skip
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen(64)
        port = bound.getsockname()[1]
        (place / "nginx.conf").write_text(CONFIGURATION.format(port=port))
        # In this way it takes over the sockets of an older nginx: nobody can have taken the port meanwhile.
        descriptor = bound.fileno()
        process = run(
            tree("nginx") / "sbin" / "nginx", "-p", place, "-c", "nginx.conf", pass_fds=[descriptor],
            env={"NGINX": f"{descriptor};"},
        )  # fmt: skip
        until((place / "nginx.pid").exists, process)
    yield port
    process.send_signal(signal.SIGTERM)
    assert process.wait(SOON) == 0, process.stdout and process.stdout.read()
    delete(place)


def get_page(port: int) -> tuple[int, str, str | None]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=SOON)
    connection.request("GET", "/page.txt")
    version = connection.sock.version()
    answer = connection.getresponse()
    with contextlib.closing(connection):
        return answer.status, answer.read().decode(), version


def test_nginx_serves_a_file_over_tls_1_3(nginx: int) -> None:
    assert get_page(nginx) == (200, PAGE, "TLSv1.3")


def test_nginx_finds_libssl_at_run_time_and_mentions_no_place(tree: Tree) -> None:
    program = tree("nginx") / "sbin" / "nginx"
    needed = say("readelf", "-d", program)
    assert "libssl.so" in needed
    assert "RUNPATH" not in needed
    assert "RPATH" not in needed


MODULE = """\
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

static ngx_http_module_t context;
ngx_module_t ngx_nothing_module = {
	NGX_MODULE_V1, &context, NULL, NGX_HTTP_MODULE,
	NULL, NULL, NULL, NULL, NULL, NULL, NULL, NGX_MODULE_V1_PADDING
};
ngx_module_t *ngx_modules[] = { &ngx_nothing_module, NULL };
char *ngx_module_names[] = { "ngx_nothing_module", NULL };
char *ngx_module_order[] = { NULL };
"""


def test_nginx_loads_a_module_that_was_compiled_against_it(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "module.c").write_text(MODULE)
    places = ("core", "event", "os/unix", "http", "http/modules", "http/v2", "objs")
    includes = [f"-I{tree('nginx') / 'include' / place}" for place in places]
    say("gcc", "-shared", "-fPIC", *includes, "module.c", "-o", "module.so", cwd=tmp_path)
    (tmp_path / "nginx.conf").write_text("load_module module.so;\nevents {}\n")
    say(tree("nginx") / "sbin" / "nginx", "-t", "-p", tmp_path, "-c", "nginx.conf")


def test_wrk_measures_that_nginx(nginx: int, tree: Tree) -> None:
    wrk = tree("wrk") / "bin" / "wrk"
    said = say(wrk, "-t1", "-c2", "-d1s", f"https://127.0.0.1:{nginx}/page.txt")
    assert "requests in" in said
    assert "Non-2xx" not in said
    assert "Socket errors" not in said
    assert int(said.split(" requests in")[0].split()[-1]) > 0
    assert "libssl" not in say("readelf", "-d", wrk), (
        "its TLS must not be seen by probes on the system's libssl"
    )


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
def test_passthrough_mounts_and_reads(program: str, tree: Tree, run: Run, tmp_path: Path) -> None:
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
    finally:
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
