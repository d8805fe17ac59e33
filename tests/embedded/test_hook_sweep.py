"""Programs in which every function that a library exports is hooked, entry and return: their output is what it is without."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from .hooklib import Built, build_library, gcc
from .test_hook_programs import PYTHON

TLS = """
import socket, ssl, sys, threading, zlib
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
client = ssl.create_default_context(cafile="cert.pem")
ours, theirs = socket.socketpair()
def serve():
    with context.wrap_socket(theirs, server_side=True) as server:
        while got := server.recv(10000):
            server.sendall(got[::-1])
thread = threading.Thread(target=serve)
thread.start()
with client.wrap_socket(ours, server_hostname="localhost") as connection:
    print(connection.version(), connection.cipher()[0], connection.getpeercert()["subject"])
    for n in range(100):
        text = b"%d " % n * 200
        connection.sendall(text)
        got = b""
        while len(got) < len(text):
            got += connection.recv(10000)
        print(zlib.crc32(got))
thread.join()
"""

CPP = """
#include <algorithm>
#include <filesystem>
#include <future>
#include <iomanip>
#include <iostream>
#include <locale>
#include <map>
#include <random>
#include <sstream>
#include <stdexcept>
#include <vector>
static long deep(int n)
{
	struct Guard { long *sum; ~Guard() { ++*sum; } };
	static long sum;
	Guard guard{ &sum };
	if (!n)
		throw std::out_of_range("deep");
	return deep(n - 1) + 1;
}
int main()
{
	std::mt19937 random(7);
	std::map<std::string, double> words;
	for (int i = 0; i < 20000; i++) {
		std::ostringstream text;
		text << std::setw(8) << std::setfill('0') << std::hex << random() % 500 << ' ' << std::setprecision(9) << i / 7.0;
		std::string word;
		double value;
		std::istringstream(text.str()) >> word >> value;
		words[word] += value;
	}
	for (const auto &[word, value] : words)
		std::cout << word << '=' << std::fixed << value << '\\n';
	std::vector<std::future<long>> futures;
	for (int i = 0; i < 8; i++)
		futures.push_back(std::async(std::launch::async, [i] {
			long sum = 0;
			for (int n = 0; n < 1000; n++)
				sum += std::stol(std::to_string(n * i));
			return sum;
		}));
	for (auto &future : futures)
		std::cout << future.get() << '\\n';
	int caught = 0;
	for (int i = 0; i < 300; i++)
		try { deep(i); } catch (const std::exception &error) { caught += error.what()[0] == 'd'; }
	std::cout << caught << '\\n';
	try { std::rethrow_exception(std::make_exception_ptr(42)); } catch (int n) { std::cout << n << '\\n'; }
	std::cout << std::filesystem::path("/usr/../bin/x.y").lexically_normal() << std::endl;
}
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return the hook library and the one that hooks when it is preloaded."""
    return build_library(tmp_path_factory.mktemp("hook"))


@dataclass(frozen=True)
class Swept:
    """Runs a program bare and with all of some libraries hooked, and compares."""

    built: Built
    place: Path

    def run(self, argv: list[str], **more: str) -> str:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.place), "LC_ALL": "C", **more}
        done = subprocess.run(
            argv, env=environment, cwd=self.place, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (argv, done.returncode, done.stdout[-500:], done.stderr[-2000:])
        return done.stdout

    def same(self, argv: list[str], libraries: str, least: int) -> None:
        """The same output; at least so many entries were hit, none missed; at most 2 % could not be hooked."""
        bare = self.run(argv)
        for report in self.place.glob("report.*"):
            report.unlink()
        hooked = self.run(
            argv, LD_PRELOAD=str(self.built.preload), PRELOAD_SWEEP=libraries, PRELOAD_REPORT=str(self.place / "report")
        )
        assert hooked == bare
        reports = [list(map(int, re.findall(r"\d+", path.read_text()))) for path in self.place.glob("report.*")]
        assert max(entries for _, entries, *_ in reports) >= least
        for functions, entries, returns, _calls, missed in reports:
            assert functions > 400
            assert 0.9 * entries < returns <= entries
            assert missed == 0


@pytest.fixture
def swept(built: Built, tmp_path: Path) -> Swept:
    return Swept(built, tmp_path)


def linked(library: str) -> str:
    """Return the file of that name that this Python, or its module for TLS, is linked with."""
    import _ssl

    for file in (sys.executable, _ssl.__file__):
        found = re.search(rf"=> (/\S*/{library}\S*)", subprocess.check_output(["ldd", file], text=True))
        if found:
            return found[1]
    pytest.skip(f"this Python has no {library} of its own")


def test_libc(swept: Swept) -> None:
    swept.same(["sh", "-c", "ls -l /usr/bin | sort -k5 -n | awk '{ n += $5 } END { print n, NR }'"], "libc.so.6", 1000)
    swept.same([sys.executable, "-I", "-c", PYTHON], "libc.so.6", 100_000)


def test_libpython(swept: Swept) -> None:
    swept.same([sys.executable, "-I", "-c", PYTHON], linked("libpython3"), 1_000_000)


def test_libcrypto_and_libssl(swept: Swept) -> None:
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl is not installed")
    both = f"{linked('libcrypto')}:{linked('libssl')}"
    (swept.place / "data").write_bytes(bytes(range(256)) * 4000)
    words = "req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=localhost -keyout key.pem -out cert.pem -addext"
    swept.run([openssl, *words.split(), "subjectAltName=DNS:localhost"])
    for words in (
        "dgst -sha512 data",
        "enc -chacha20 -pbkdf2 -nosalt -k word -in data -a",
        "dgst -sha256 -sign key.pem -hex data",
        "verify -CAfile cert.pem cert.pem",
    ):
        swept.same([openssl, *words.split()], both, 500)
    swept.same([sys.executable, "-I", "-c", TLS], both, 10_000)


def test_libstdcxx(swept: Swept) -> None:
    source, program = swept.place / "program.cpp", swept.place / "program"
    source.write_text(CPP)
    gcc("-std=c++17", source, "-o", program, "-lpthread", command="g++")
    swept.same([str(program)], "libstdc++.so.6", 100_000)
