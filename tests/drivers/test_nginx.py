"""Servers that do not start, processes that are gone, and configurations."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpfbench.drivers import nginx
from bpfbench.process.command import minimal_env
from bpfbench.process.reaper import Reaper


def start(tmp_path, script):
    program = tmp_path / "server"
    program.write_text(f"#!{sys.executable} -IS\nimport os, sys, time\n{script}\n")
    program.chmod(0o755)
    with Reaper("test-nginx") as reaper:
        nginx.Nginx(
            reaper, program, tmp_path, minimal_env(tmp_path), frozenset(os.sched_getaffinity(0)),
            configure=nginx.configuration, files={"body": b"x"},
        )


def test_a_server_that_does_not_start_says_why(tmp_path):
    with pytest.raises(nginx.ServerError, match=r"(?s)has ended.*no such directive"):
        start(tmp_path, "print('no such directive', file=sys.stderr); sys.exit(1)")


def test_a_server_without_workers_is_none_and_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(nginx, "START_DEADLINE", 0.5)
    with pytest.raises(nginx.ServerError, match="0 workers, expected 1"):
        start(tmp_path, "open('pid', 'w').write(str(os.getpid())); time.sleep(1000)")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_more_directives_go_where_they_belong():
    made = nginx.configuration("127.0.0.1:81", top="load_module x.so;", http="sendfile on;", server="etag off;")
    places = [made.index(text) for text in ("load_module x.so;", "http {", "sendfile on;", "server {", "listen 127.0.0.1:81;", "etag off;")]
    assert places == sorted(places)
    assert "ssl" not in made


def test_tls_is_the_newest_and_nothing_else(tmp_path):
    assert "ssl_protocols TLSv1.3;" in nginx.configuration("127.0.0.1:81", certificate=tmp_path)


@pytest.mark.parametrize("look", [nginx.sockets, nginx.state, nginx.children, nginx.cpu_seconds])
def test_a_process_that_has_ended_is_an_error_of_the_sample_and_no_crash(look):
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(nginx.ServerError, match=f"process {ended.pid} has ended"):
        look(ended.pid)
