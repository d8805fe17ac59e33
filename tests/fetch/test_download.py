"""Downloads: verified, continued where they were cut off, and never taken for whole when they are not."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bpfbench.fetch import archive
from bpfbench.fetch.download import _alone, discard, download
from bpfbench.fetch.errors import Mismatch, Refused, Unavailable

from .hostile import info, tar

BODY = os.urandom(300_000)
SHA = hashlib.sha256(BODY).hexdigest()


def test_a_file_arrives_and_is_verified(server, tools, notes):
    path, sha256 = download(server.put("f", BODY), SHA, tools)
    assert (path.read_bytes(), sha256) == (BODY, SHA)
    assert any("downloading from" in note for note in notes)
    discard(path)
    assert not any(tools.downloads.iterdir())


def test_what_nothing_pins_arrives_with_its_hash(server, tools):
    path, sha256 = download(server.put("f", BODY), None, tools)
    assert (path.read_bytes(), sha256) == (BODY, SHA)


def test_another_file_is_a_mismatch_and_not_kept(server, tools):
    url = server.put("f", b"something else")
    with pytest.raises(Mismatch) as caught:
        download(url, SHA, tools)
    assert (caught.value.expected, caught.value.got) == (SHA, hashlib.sha256(b"something else").hexdigest())
    assert url in str(caught.value) and SHA in str(caught.value)
    assert not any(tools.downloads.iterdir())


def test_a_download_that_is_cut_off_goes_on_where_it_was(server, tools):
    url = server.put("f", BODY)
    server.cut = 100_000
    path, _ = download(url, SHA, tools)
    assert path.read_bytes() == BODY
    assert server.requests == [("/f", None), ("/f", "bytes=100000-")]


def test_what_another_call_left_is_gone_on_with(server, tools):
    url = server.put("f", BODY)

    def cut_always(handler):
        server.cut = 1000
        return False

    server.answer = cut_always
    with pytest.raises(Unavailable, match=r"interrupted after .* the server hung up|interrupted"):
        download(url, SHA, tools)
    part = next(tools.downloads.glob("*.part"))
    assert part.read_bytes() == BODY[:4000]
    server.answer = lambda handler: setattr(server, "cut", None) or False
    server.requests.clear()
    path, _ = download(url, SHA, tools)
    assert path.read_bytes() == BODY
    assert server.requests == [("/f", "bytes=4000-")]


@pytest.mark.parametrize("etags", [True, False])
def test_halves_of_two_files_are_never_put_together(server, tools, etags):
    server.etags = etags
    url = server.put("f", os.urandom(300_000))
    server.answer = lambda handler: setattr(server, "cut", 100_000) or False
    with pytest.raises(Unavailable):
        tools_attempts(server, url, tools)
    server.answer = lambda handler: setattr(server, "cut", None) or False
    server.put("f", BODY)
    path, _ = download(url, SHA, tools)
    assert path.read_bytes() == BODY


def tools_attempts(server, url, tools):
    """Let one attempt bring something and the next ones nothing."""
    cuts = iter([100_000, 0, 0, 0, 0])
    server.answer = lambda handler: setattr(server, "cut", next(cuts)) or False
    return download(url, SHA, tools)


def test_a_bad_half_is_noticed_and_all_of_it_fetched_again(server, tools):
    url = server.put("f", BODY)
    tools.downloads.mkdir(parents=True)
    (tools.downloads / f"{SHA}.part").write_bytes(b"x" * 50_000)
    told = {"url": url, "validator": None, "length": len(BODY)}
    (tools.downloads / f"{SHA}.json").write_text(json.dumps(told))
    path, _ = download(url, SHA, tools)
    assert path.read_bytes() == BODY
    assert server.requests == [("/f", "bytes=50000-"), ("/f", None)]


def test_a_whole_file_from_before_is_used_without_asking_anybody(server, tools):
    url = server.put("f", BODY)
    path, _ = download(url, SHA, tools)
    server.requests.clear()
    assert download(url, SHA, tools)[0] == path
    assert server.requests == []
    path.write_bytes(BODY[:-1] + b"?")
    assert download(url, SHA, tools)[0].read_bytes() == BODY


def test_a_part_without_its_note_counts_for_nothing(server, tools):
    tools.downloads.mkdir(parents=True)
    (tools.downloads / f"{SHA}.part").write_bytes(BODY[:500])
    download(server.put("f", BODY), SHA, tools)
    assert server.requests == [("/f", None)]


def test_a_server_that_knows_no_ranges_sends_it_all_again(server, tools):
    server.ranges = False
    server.cut = 100_000
    path, _ = download(server.put("f", BODY), SHA, tools)
    assert path.read_bytes() == BODY


def test_a_server_that_sends_another_range_is_not_believed(server, tools):
    def lie(handler):
        if handler.headers.get("Range") is None:
            return False
        body = BODY[50_000:]
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 50000-{len(BODY) - 1}/{len(BODY)}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    url = server.put("f", BODY)
    server.cut = 100_000
    server.answer = lie
    assert download(url, SHA, tools)[0].read_bytes() == BODY


def test_a_file_that_has_become_shorter_is_fetched_anew(server, tools):
    url = server.put("f", BODY)
    tools.downloads.mkdir(parents=True)
    (tools.downloads / f"{SHA}.part").write_bytes(BODY + b"more")
    (tools.downloads / f"{SHA}.json").write_text(json.dumps({"url": url, "validator": None, "length": 9}))
    assert download(url, SHA, tools)[0].read_bytes() == BODY


def test_no_such_file_is_the_files_fault_not_the_hosts(server, tools):
    with pytest.raises(Unavailable, match="404") as caught:
        download(f"{server.url}/none", SHA, tools)
    assert caught.value.host is None
    download(server.put("f", BODY), SHA, tools)


def test_a_file_that_is_too_large_is_not_begun(server, tools):
    def huge(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        return True

    server.answer = huge
    with pytest.raises(Refused, match="1099511627776 bytes"):
        download(f"{server.url}/f", SHA, tools)


def test_an_encoding_that_was_not_asked_for_is_not_taken(server, tools):
    def encoded(handler):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.answer = encoded
    with pytest.raises(Unavailable, match="encoded"):
        download(f"{server.url}/f", SHA, tools)


def test_redirects_are_followed_with_the_range(server, tools):
    url = server.put("f", BODY)

    def redirect(handler):
        if handler.path != "/moved":
            return False
        handler.send_response(302)
        handler.send_header("Location", "/f")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.answer = redirect
    server.cut = 100_000
    path, _ = download(url.replace("/f", "/moved"), SHA, tools)
    assert path.read_bytes() == BODY
    assert server.requests[-1] == ("/f", "bytes=100000-")


def test_a_host_that_refuses_is_waited_for_once(tools, make_tools):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(Unavailable, match="out of reach: Connection refused") as caught:
        download(f"http://{host}/f", SHA, tools)
    assert caught.value.host == host
    with pytest.raises(Unavailable, match=r"out of reach: Connection refused \(tried "), make_tools() as again:
        download(f"http://{host}/other", SHA, again)


def silent_server():
    """Take connections and say nothing; return the host and how many came."""
    listener = socket.create_server(("127.0.0.1", 0))
    came: list[socket.socket] = []

    def take():
        while True:
            try:
                came.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=take, daemon=True).start()
    return listener, came


def test_a_host_that_says_nothing_is_given_up_on_and_remembered_until_asked_for(make_tools):
    listener, came = silent_server()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/f"
    with listener:
        with make_tools() as tools, pytest.raises(Unavailable, match="no answer within"):
            tools.connect = 0.3
            download(url, SHA, tools)
        assert len(came) == 1
        with make_tools() as tools, pytest.raises(Unavailable, match="no answer within"):
            download(url, SHA, tools)
        assert len(came) == 1, "a host that is known to be out of reach is not asked"
        with make_tools(again=True) as tools, pytest.raises(Unavailable):
            tools.connect = 0.3
            download(url, SHA, tools)
        assert len(came) == 2, "asked to try again, it is"


def test_a_server_that_falls_silent_is_given_up_on_and_the_part_kept(server, tools):
    stop = threading.Event()

    def stall(handler):
        if handler.headers.get("Range"):
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[:100_000])
        handler.wfile.flush()
        stop.wait(10)
        return True

    tools.silence = 0.3
    server.answer = stall
    path, _ = download(server.put("f", BODY), SHA, tools)
    stop.set()
    assert path.read_bytes() == BODY
    assert server.requests[-1] == ("/f", "bytes=100000-")


def test_four_at_once_make_one_download(server, make_tools):
    url = server.put("f", BODY)

    def get(_):
        with make_tools() as tools:
            return download(url, SHA, tools)[1]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(get, range(4))) == [SHA] * 4
    assert len(server.requests) == 1


def test_two_sources_with_one_archive_do_not_take_it_from_each_other(server, make_tools, tmp_path):
    data = tar((info("x-1/a"), b"1" * 10_000), format=tarfile.PAX_FORMAT)
    fields = {"url": server.put("f.tar", data), "sha256": hashlib.sha256(data).hexdigest()}

    def get(number):
        tree = tmp_path / str(number)
        tree.mkdir()
        with make_tools() as tools:
            archive.obtain(fields, "1", tree, tools)
        return (tree / "a").read_bytes()

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(get, range(12))) == {b"1" * 10_000}
    assert not list((tmp_path / "state" / "downloads").iterdir())


def test_one_at_a_time_is_let_in_however_many_come_and_go(tmp_path):
    """Whoever leaves removes the directory by which the others wait."""
    place, inside, most = tmp_path / "downloads" / "f", [], []

    def enter(_):
        with _alone(place):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(enter, range(2000)))
    assert set(most) == {1}
    assert not place.exists()


def test_a_part_that_nobody_goes_on_with_is_not_kept_for_ever(server, tools):
    tools.downloads.mkdir(parents=True)
    old, young = tools.downloads / "old.part", tools.downloads / "young.part"
    old.write_bytes(b"x"), young.write_bytes(b"x")
    os.utime(old, (1, 1))
    download(server.put("f", BODY), SHA, tools)
    assert not old.exists() and young.exists()
