"""bpftrace scripts of the ten kinds that userspace runtimes promise to run: each prints here what it prints on the kernel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from .compile import ROOT, program
from .conftest import Segment
from .test_tools import KERNEL, KERNELS

pytestmark = [
    pytest.mark.long,  # twenty starts of bpftrace, a second and a half each
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's side of the comparison"),
    pytest.mark.skipif(not shutil.which("bpftrace"), reason="bpftrace is not installed"),
]

LIBC, LIBSSL = "/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libssl.so.3"

HANDSHAKE = """
import ssl
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.set_ciphers("ALL:@SECLEVEL=0")
server.minimum_version = server.maximum_version = ssl.TLSVersion.TLSv1_2
client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
client.set_ciphers("AECDH:@SECLEVEL=0")
a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
ends = [client.wrap_bio(a, b), server.wrap_bio(b, a, server_side=True)]
for turn in range(8):
    try:
        ends[turn % 2].do_handshake()
    except ssl.SSLWantReadError:
        pass
ends[0].write(b"hello, server")
assert ends[1].read(100) == b"hello, server"
"""


@dataclass(frozen=True)
class Script:
    """A script, what it is to look at, and a pattern of the lines that count; without times, which are nobody's."""

    text: str
    target: str
    lines: str
    least: int


def on(probe: str, does: str, comm: str = "traced") -> str:
    return f'{probe} /comm == "{comm}"/ {{ {does} }}\n'


def pair(calls: str, keep: str, result: str) -> str:
    """Keep something of a call at its entry, and print it with the result."""
    enter = "".join(f"tracepoint:syscalls:sys_enter_{call}, " for call in calls.split()).rstrip(", ")
    leave = enter.replace("enter", "exit")
    return (
        f"{enter} /comm == \"traced\"/ {{ @kept[tid] = {keep}; }}\n"
        f"{leave} /@kept[tid]/ {{ printf(\"> %s {result}\\n\", str(@kept[tid]), args->ret); delete(@kept[tid]); }}\n"
    )  # fmt: skip


SCRIPTS = {
    "bashreadline": Script(
        on("uretprobe:/bin/bash:readline", 'printf("> %s\\n", str(retval));', "bash"), "/bin/bash --norc -i", r"> .*", 2,
    ),
    "execsnoop": Script(
        on("tracepoint:syscalls:sys_enter_exec*", 'printf("> %s ", probe); join(args->argv);', "sh"), "/bin/sh SHELL", r"> .*", 3,
    ),
    "gethostlatency": Script(
        on(f"uprobe:{LIBC}:getaddrinfo", "@start[tid] = nsecs; @name[tid] = arg0;", "getent")
        + f"uretprobe:{LIBC}:getaddrinfo /@start[tid]/ {{ printf(\"> %s %d %d\\n\", str(@name[tid]), (nsecs - @start[tid]) / 1e10, "
        "retval); delete(@start[tid]); delete(@name[tid]); }",
        "/usr/bin/getent ahosts localhost", r"> .*", 1,
    ),
    "killsnoop": Script(
        "tracepoint:syscalls:sys_enter_kill { @pid[tid] = args->pid; @sig[tid] = args->sig; }\n"
        "tracepoint:syscalls:sys_exit_kill /@pid[tid] && comm == \"traced\"/ "
        '{ printf("> %d %d %d\\n", @sig[tid], @pid[tid] == pid, args->ret); delete(@pid[tid]); delete(@sig[tid]); }',
        "traced", r"> .*", 3,
    ),
    "opensnoop": Script(pair("open openat", "args->filename", "%d"), "traced", r"> (?:/etc/passwd|/nowhere/at/all) .*", 10),
    "sslsnoop": Script(
        "".join(
            on(f"uprobe:{LIBSSL}:{name}", "@start[tid] = nsecs; @func[tid] = func;", "python3")
            + f"uretprobe:{LIBSSL}:{name} /@start[tid]/ "
            '{ printf("> %d %s\\n", retval, @func[tid]); delete(@start[tid]); delete(@func[tid]); }\n'
            for name in ("SSL_read_ex", "SSL_write_ex", "SSL_do_handshake")
        ),
        "/usr/bin/python3 HANDSHAKE", r"> .*", 6,
    ),
    "statsnoop": Script(pair("newstat newlstat newfstatat", "args->filename", "%d"), "traced", r"> (?:/sys|/nowhere|/dev/stdin) .*", 3),
    "syncsnoop": Script(
        "".join(
            on(f"tracepoint:syscalls:sys_enter_{call}", 'printf("> %s\\n", probe);', "sync") for call in ("fsync", "fdatasync", "syncfs")
        ),
        "/bin/sh SYNC", r"> .*", 3,
    ),
    "syscount": Script(
        on("tracepoint:raw_syscalls:sys_enter", "@calls[args->id] = count(); @by[comm] = sum(args->id == 110);"),
        "traced", r"@calls\[(?:24|110|121)\]: .*|@by\[.*", 4,
    ),
    "threadsnoop": Script(on(f"uprobe:{LIBC}:pthread_create", 'printf("> %s %d\\n", comm, arg2 != 0);'), "traced", r"> .*", 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the targets are."""
    tree = tmp_path_factory.mktemp("scripts")
    program("traced", tree, "-rdynamic", "-fno-omit-frame-pointer", "-lpthread", source=ROOT / "embedded/tests")
    (tree / "SHELL").write_text("/bin/true one two\n/bin/echo three\nexec /bin/echo last\n")
    (tree / "SYNC").write_text("sync file; sync -d file; sync -f file\n")
    (tree / "HANDSHAKE").write_text(HANDSHAKE)
    (tree / "file").write_text("something\n")
    return tree


def output(built: Path, script: Script, loader: dict[str, str], target: dict[str, str]) -> list[str]:
    """Run the script on its target, and return the lines that count."""
    words = script.target.split()
    command = " ".join(str(built / word) if (built / word).exists() else word for word in words)
    settings = " ".join(f"{name}={value}" for name, value in target.items())
    text = f'BEGIN {{ printf("> begun\\n"); }}\n{script.text}'
    argv = [*KERNELS, "bpftrace", "-B", "line", "-e", text, "-c", f"/usr/bin/env {settings} {command}"]
    done = subprocess.run(
        argv, env={**loader, "BPFTRACE_STRLEN": "64"}, input="go\nexit\n", cwd=built, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return sorted(line for line in done.stdout.splitlines() if re.fullmatch(script.lines, line.strip()))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_what_it_prints_on_the_kernel(built: Path, segment: Segment, name: str) -> None:
    script = SCRIPTS[name]
    kernel = output(built, script, KERNEL, KERNEL)
    assert len(kernel) >= script.least, kernel
    # BEGIN and END are uprobes of bpftrace itself, so it is a target, too
    both = {**segment.loader(), "LD_PRELOAD": f"{segment.runtime}/shim.so:{segment.runtime}/agent.so"}
    assert output(built, script, both, segment.target()) == kernel
