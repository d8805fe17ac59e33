"""Published vectors, where they come from, and a second implementation to compare with.

- An empty directory: the hash that nixpkgs recipes give for an empty tree of dependencies.
- A directory with hello (by MD5), and one with foo, bar and bla: Nix's functional tests, hash-path.sh and
  fixed.sh.
- A regular file "hi": GNU Guix's tests of `guix hash`.
"""

# Paths are bytes here, which pathlib cannot hold:
# ruff: noqa: PTH102, PTH123, PTH211

import base64
import hashlib
import os
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfbench.errors import BenchError
from bpfbench.store import nar
from bpfbench.store.nar import hash_tree, nar_hash, serialise


def nix32(text):
    """Decode Nix's base 32 (least significant digit last, no e o t u) to SRI form."""
    number = 0
    for digit in text:
        number = number * 32 + "0123456789abcdfghijklmnpqrsvwxyz".index(digit)
    return "sha256-" + base64.b64encode(number.to_bytes(32, "little")).decode()


def md5(path):
    digest = hashlib.md5()
    serialise(path, digest.update)
    return digest.hexdigest()


def test_published_empty_directory(tmp_path):
    assert nar_hash(tmp_path) == "sha256-pQpattmS9VmO3ZIQUFn66az8GSmB4IvYhTTCFn6SUmo="


def test_published_regular_file(tmp_path):
    (tmp_path / "hi").write_bytes(b"hi\n")
    assert nar_hash(tmp_path / "hi") == nix32("1xmr8jicvzszfzpz46g37mlpvbzjl2wpwvl2b05psipssyp1sm8h")


def test_published_directory(tmp_path):
    (tmp_path / "foo").write_bytes(b"Hello World!\n")
    (tmp_path / "bar").symlink_to("foo")
    (tmp_path / "bla").mkdir()
    assert nar_hash(tmp_path) == nix32("1ixr6yd3297ciyp9im522dfxpqbkhcw0pylkb2aab915278fqaik")


def test_published_serialisations(tmp_path):
    hello = tmp_path / "hello"
    hello.write_bytes(b"Hello World\n")
    hello.chmod(0o644)
    assert md5(tmp_path) == "ea9b55537dd4c7e104515b2ccfaf4100"
    hello.chmod(0o755)
    assert md5(tmp_path) == "20f3ffe011d4cfa7d72bfabef7882836"
    hello.chmod(0o744)
    os.utime(hello, (5, 5))
    assert md5(tmp_path) == "20f3ffe011d4cfa7d72bfabef7882836"
    hello.unlink()
    hello.symlink_to("x")
    assert md5(tmp_path) == "f78b733a68f5edbdf9413899339eaa4a"


# A second implementation: in memory, from a model, written from the format's definition alone. A file is
# (executable, content), a symlink is bytes, a directory is a dict.


def token(data):
    return struct.pack("<Q", len(data)) + data + b"\0" * ((8 - len(data) % 8) % 8)


def reference(model):
    if isinstance(model, dict):
        entries = [
            [b"entry", b"(", b"name", name, b"node", *reference(model[name]), b")"] for name in sorted(model)
        ]
        return [b"(", b"type", b"directory", *(part for entry in entries for part in entry), b")"]
    if isinstance(model, bytes):
        return [b"(", b"type", b"symlink", b"target", model, b")"]
    executable, content = model
    return [
        b"(",
        b"type",
        b"regular",
        *([b"executable", b""] if executable else []),
        b"contents",
        content,
        b")",
    ]


def reference_hash(model):
    data = b"".join(map(token, [b"nix-archive-1", *reference(model)]))
    return "sha256-" + base64.b64encode(hashlib.sha256(data).digest()).decode()


def write(model, path):
    if isinstance(model, dict):
        os.mkdir(path)
        for name in model:
            write(model[name], path + b"/" + name)
    elif isinstance(model, bytes):
        os.symlink(model, path)
    else:
        executable, content = model
        with open(
            os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o700 if executable else 0o600), "wb"
        ) as file:
            file.write(content)


names = st.binary(min_size=1, max_size=12).filter(
    lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b"..")
)
targets = st.binary(min_size=1, max_size=20).filter(lambda t: b"\0" not in t)
files = st.tuples(st.booleans(), st.binary(max_size=40))
models = st.recursive(files | targets, lambda inner: st.dictionaries(names, inner, max_size=5), max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(models)
def test_any_tree_hashes_as_the_reference_does(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("nar") / "tree"
    write(model, os.fsencode(path))
    assert nar_hash(path) == reference_hash(model)


def test_files_longer_than_a_chunk_are_read_in_pieces(tmp_path):
    content = os.urandom(2 * nar._CHUNK + 3)
    (tmp_path / "big").write_bytes(content)
    pieces = []
    serialise(tmp_path, lambda piece: pieces.append(len(piece)))
    assert max(pieces) == nar._CHUNK
    assert nar_hash(tmp_path) == reference_hash({b"big": (False, content)})


def test_nodes_come_with_the_hash_of_their_content(tmp_path):
    (tmp_path / "b").write_bytes(b"content")
    (tmp_path / "a").symlink_to("b")
    _, nodes = hash_tree(tmp_path)
    found = [(node.path, node.content) for node in nodes]
    assert found == [(b"", b""), (b"a", b"b"), (b"b", hashlib.sha256(b"content").hexdigest().encode())]


@pytest.mark.parametrize("size", [1, 100, nar._CHUNK - 1, nar._CHUNK, 3 * nar._CHUNK])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_its_size_while_it_is_read_is_an_error(tmp_path, monkeypatch, size, change):
    path, real = tmp_path / "log", os.open
    path.write_bytes(bytes(size))

    def change_and_open(*arguments):
        os.truncate(path, size + change)
        return real(*arguments)

    monkeypatch.setattr(os, "open", change_and_open)
    with pytest.raises(BenchError, match="log changed while it was being read"):
        nar_hash(path)


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_special_files_are_refused(tmp_path, kind):
    if kind == "fifo":
        os.mkfifo(tmp_path / "it")
    else:
        socket.socket(socket.AF_UNIX).bind(str(tmp_path / "it"))
    with pytest.raises(BenchError, match="it is neither a file, a directory nor a symlink"):
        nar_hash(tmp_path)
