"""nginx as later experiments need it: TLS 1.3 by the system's libssl, modules of ours, and wrk that asks it by a script."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfbench.store.store import Item
from bpfbench.store.tree import delete

from .packages import Place
from .packages_here import SOON, Run, Tree, say, until

pytestmark = [pytest.mark.system, pytest.mark.long]

CONFIGURATION = """\
{before}
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
        {inside}
    }}
}}
"""
PAGE = "a page of 4 KiB" + "." * 4081
Serve = Callable[..., int]


@pytest.fixture
def serve(tree: Tree, run: Run) -> Iterator[Serve]:
    """Start an nginx that serves one page over TLS 1.3, with more in its configuration; return its port."""
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
    started: list[subprocess.Popen[str]] = []

    def start(*, before: str = "", inside: str = "") -> int:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            bound.listen(64)
            port = int(bound.getsockname()[1])
            (place / "nginx.conf").write_text(CONFIGURATION.format(port=port, before=before, inside=inside))
            # In this way it takes over the sockets of an older nginx: nobody can have taken the port meanwhile.
            descriptor = bound.fileno()
            process = run(
                tree("nginx") / "sbin" / "nginx", "-p", place, "-c", "nginx.conf", pass_fds=[descriptor],
                env={"NGINX": f"{descriptor};"},
            )  # fmt: skip
            until((place / "nginx.pid").exists, process)
        started.append(process)
        return port

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 0, process.stdout and process.stdout.read()
    delete(place)


def get(port: int, page: str) -> tuple[int, str, str | None]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=SOON)
    connection.request("GET", page)
    version = connection.sock.version()
    answer = connection.getresponse()
    with contextlib.closing(connection):
        return answer.status, answer.read().decode(), version


def test_nginx_serves_a_file_over_tls_1_3(serve: Serve) -> None:
    assert get(serve(), "/page.txt") == (200, PAGE, "TLSv1.3")


def test_nginx_calls_the_systems_libssl_and_mentions_no_place(tree: Tree) -> None:
    program = tree("nginx") / "sbin" / "nginx"
    needed = say("readelf", "--dynamic", program)
    assert "libssl.so" in needed
    assert "RUNPATH" not in needed
    assert "RPATH" not in needed
    wanted = say("nm", "--dynamic", "--undefined-only", program)
    for function in ("SSL_read", "SSL_write", "SSL_do_handshake"):
        assert f" {function}" in wanted, "probes on libssl see it"


# a module as it is written for nginx

MODULE = """\
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

static ngx_int_t answer(ngx_http_request_t *request)
{
	static u_char text[] = "from a module";
	ngx_buf_t *buffer = ngx_calloc_buf(request->pool);
	ngx_chain_t chain = {.buf = buffer, .next = NULL};
	ngx_int_t sent;

	if (!buffer)
		return NGX_HTTP_INTERNAL_SERVER_ERROR;
	buffer->pos = text;
	buffer->last = text + sizeof(text) - 1;
	buffer->memory = 1;
	buffer->last_buf = 1;
	request->headers_out.status = NGX_HTTP_OK;
	request->headers_out.content_length_n = sizeof(text) - 1;
	sent = ngx_http_send_header(request);
	return sent == NGX_OK ? ngx_http_output_filter(request, &chain) : sent;
}

static char *let_answer(ngx_conf_t *configuration, ngx_command_t *command, void *unused)
{
	ngx_http_core_loc_conf_t *location =
		ngx_http_conf_get_module_loc_conf(configuration, ngx_http_core_module);

	(void)command;
	(void)unused;
	location->handler = answer;
	return NGX_CONF_OK;
}

static ngx_command_t commands[] = {
	{ngx_string("answer"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, let_answer, 0, 0, NULL},
	ngx_null_command,
};
static ngx_http_module_t context;
ngx_module_t answer_module = {
	NGX_MODULE_V1, &context, commands, NGX_HTTP_MODULE,
	NULL, NULL, NULL, NULL, NULL, NULL, NULL, NGX_MODULE_V1_PADDING,
};
ngx_module_t *ngx_modules[] = {&answer_module, NULL};
char *ngx_module_names[] = {"answer_module", NULL};
char *ngx_module_order[] = {NULL};
"""
PACKAGE = """\
package: answer
title: A module for nginx
recipe: workload
inputs: [workloads/answer]
depends: [nginx]
needs: [gcc, openssl, pcre2]
artefacts:
  - output: modules/answer.so
    kind: shared-library
    sources: [workloads/answer/module.c]
    flags:
"""


def test_a_module_is_built_in_the_store_and_nginx_serves_with_it(
    items: Callable[[str], Item], first: Place, serve: Serve
) -> None:
    nginx = items("nginx")
    places = ("core", "event", "os/unix", "http", "http/modules", "http/v2", "objs")
    flags = "".join(f'      - "-isystem{{package:nginx}}/include/{place}"\n' for place in places)
    (first.root / "specs/packages/answer.yaml").write_text(PACKAGE + flags)
    (first.root / "workloads/answer").mkdir(exist_ok=True)
    (first.root / "workloads/answer/module.c").write_text(MODULE)
    module = first.build("answer").tree / "modules/answer.so"
    assert os.fsencode(nginx.path) not in module.read_bytes()
    port = serve(before=f'load_module "{module}";', inside="location /answer { answer; }")
    assert get(port, "/answer") == (200, "from a module", "TLSv1.3")
    assert get(port, "/page.txt") == (200, PAGE, "TLSv1.3")


SCRIPT = """\
request = function()
    return wrk.format("GET", "/page.txt", {["X-From"] = "Lua"})
end
done = function(summary, latency, requests)
    io.write(string.format("Lua saw %d requests and %d errors\\n", summary.requests, summary.errors.status))
end
"""


def test_wrk_asks_that_nginx_what_a_script_says(serve: Serve, tree: Tree, tmp_path: Path) -> None:
    wrk = tree("wrk") / "bin" / "wrk"
    (tmp_path / "script.lua").write_text(SCRIPT)
    said = say(wrk, "-t1", "-c2", "-d1s", "-s", tmp_path / "script.lua", f"https://127.0.0.1:{serve()}/not-there")
    assert "Non-2xx" not in said
    assert "Socket errors" not in said
    counted, errors = re.findall(r"^Lua saw (\d+) requests and (\d+) errors$", said, re.MULTILINE)[0]
    assert int(counted) > 0
    assert errors == "0"
    assert f"{counted} requests in" in said
    assert "libssl" not in say("readelf", "--dynamic", wrk), (
        "its TLS must not be seen by probes on the system's libssl"
    )
