"""Source lines derived from a machine's entries, in both formats, with keys and trust as they are there."""

from __future__ import annotations

from bpfbench.fetch.aptsources import derived

ONE_LINE = """\
# comment
deb http://mirror.example/debian bookworm main contrib  # trailing
deb-src http://mirror.example/debian bookworm main contrib
deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/k.gpg lang=none] https://mirror.example/ubuntu jammy main
deb [ trusted=yes ] file:/srv/repo ./
deb cdrom:[Debian 12]/ bookworm main
# deb http://off.example/debian bookworm main
rpm http://no.example x
"""

DEB822 = """\
# a comment
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Architectures: amd64
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb deb-src
URIs: http://mirror.example/more
Suites: bookworm
Components: main
Enabled: no

Types: deb deb-src
URIs: http://mirror.example/inline
Suites: ./
X-Repolib-Name: inline
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0srwuhlB6JKFkcf4HU4SSS/xcRfwEQWzr
 -----END PGP PUBLIC KEY BLOCK-----
"""


def machine(tmp_path, main="", **parts):
    (tmp_path / "sources.list").write_text(main)
    (tmp_path / "parts").mkdir()
    for name, text in parts.items():
        (tmp_path / "parts" / name.replace("_", ".")).write_text(text)
    return {"LIST": str(tmp_path / "sources.list"), "PARTS": str(tmp_path / "parts")}


def test_one_line_entries_become_entries_for_sources(tmp_path):
    found = derived(machine(tmp_path, ONE_LINE))
    assert found == {
        "derived.list": "deb-src http://mirror.example/debian bookworm main contrib\n"
        "deb-src [signed-by=/usr/share/keyrings/k.gpg] https://mirror.example/ubuntu jammy main\n"
        "deb-src [trusted=yes] file:/srv/repo ./\n"
    }


def test_deb822_stanzas_keep_their_keys_and_lose_what_is_about_binaries(tmp_path):
    found = derived(machine(tmp_path, a_sources=DEB822))["derived.sources"]
    first, second = found.split("\n\n")
    assert first == (
        "Types: deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian.gpg"
    )
    assert "X-Repolib-Name: inline\nSigned-By:\n -----BEGIN" in second
    assert " .\n mDMEY865UxYJ" in second
    assert "more" not in found


def test_files_of_other_kinds_and_disabled_ones_are_not_read(tmp_path):
    settings = machine(tmp_path, a_list="deb http://a.example x main\n", b_save="deb http://b.example x main\n")
    (tmp_path / "parts" / "c.list.disabled").write_text("deb http://c.example x main\n")
    assert derived(settings) == {"derived.list": "deb-src http://a.example x main\n"}


def test_a_machine_without_entries_gives_nothing(tmp_path):
    assert derived({"LIST": str(tmp_path / "none"), "PARTS": str(tmp_path / "nowhere")}) == {}
    assert derived({}) == {}
