"""Archives that no source needs, each made here, with the member to be named and the reason to be given."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Hostile:
    """An archive: ``member`` has to be named, and ``why`` (a pattern) to be said."""

    name: str
    make: Callable[[], bytes]
    member: str | None
    why: str


def info(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def tar(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for member in members:
            entry, content = member if isinstance(member, tuple) else (member, b"")
            if content:
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # of duplicate names
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def entry(name: str, mode: int, system: int = 3) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.create_system = system
    made.external_attr = mode << 16
    return made


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def resealed(data: bytes, at: int = 0) -> bytes:
    """Make a tar header's checksum right again."""
    header = data[at : at + 512]
    header = header[:148] + b" " * 8 + header[156:]
    return patched(data, at + 148, b"%06o\0 " % sum(header))


def raw(name: bytes = b"x", size: bytes = b"00000000000\0", kind: bytes = b"0", body: bytes = b"") -> bytes:
    """A header by hand, and what follows it."""
    header = bytearray(512)
    header[: len(name)] = name
    header[100:108] = b"0000644\0"
    header[124:136] = size
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    return resealed(bytes(header)) + body


END = bytes(1024)


def pax(name: str, **records: str) -> bytes:
    entry = info(name)
    entry.pax_headers = records
    return tar(entry, format=tarfile.PAX_FORMAT)


def _shared_zip() -> bytes:
    """Two names for the same bytes: the directory names a member twice."""
    data = zipped(("a", b"x" * 1000), ("b", b"y"))
    end = data.rindex(b"PK\5\6")
    directory = struct.unpack("<I", data[end + 16 : end + 20])[0]
    second = data.index(b"PK\1\2", directory + 1)
    return patched(data, second + 42, struct.pack("<I", 10))


def _zero_byte_zip() -> bytes:
    return zipped(("nameXtail", b"x")).replace(b"nameXtail", b"name\0tail")


def _encrypted_zip() -> bytes:
    data = zipped(("secret", b"x"))
    central = data.index(b"PK\1\2")
    return patched(patched(data, 6, b"\1\0"), central + 8, b"\1\0")


def _lying_zip() -> bytes:
    """Its directory says one byte, the data have a thousand."""
    data = zipped(("lie", b"x" * 1000), method=zipfile.ZIP_DEFLATED)
    return patched(data, data.index(b"PK\1\2") + 24, struct.pack("<I", 1))


def _wrong_checksum() -> bytes:
    data = gzip.compress(tar(SMALL))
    return patched(data, len(data) - 8, bytes(4))


FILE, LINK, SYM, DIR = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
SMALL = (info("ok"), b"fine")

HOSTILE = [
    Hostile("absolute", lambda: tar(info("/etc/passwd")), "/etc/passwd", "absolute"),
    Hostile("upwards", lambda: tar(info("../../x")), "../../x", "leads upwards"),
    Hostile("upwards inside", lambda: tar(info("a/b/../../../x")), "a/b/../../../x", "leads upwards"),
    Hostile("directory upwards", lambda: tar(info("a/..", DIR)), "a/../", "leads upwards"),
    Hostile(
        "through a symlink",
        lambda: tar(info("d", SYM, linkname="e"), info("e", DIR), info("d/x")),
        "d/x",
        "through the symlink d",
    ),
    Hostile(
        "through a symlink to /tmp",
        lambda: tar(info("d", SYM, linkname="/tmp"), info("d/x")),
        "d",
        "symlink to /tmp, out of the tree",
    ),
    Hostile("symlink upwards", lambda: tar(info("a", SYM, linkname="../x")), "a", "symlink to ../x, out of the tree"),
    Hostile(
        "symlink upwards by another",
        lambda: tar(
            info("deep/er", DIR), info("up", SYM, linkname="deep/er/.."), info("deep/out", SYM, linkname="../up/../../x")
        ),
        "deep/out",
        "out of the tree",
    ),
    Hostile(
        "two harmless symlinks, harmful together",
        lambda: tar(info("a/b/c", DIR), info("l", SYM, linkname="a/b"), info("m", SYM, linkname="l/../../..")),
        "m",
        "out of the tree",
    ),
    Hostile("circle", lambda: tar(info("a", SYM, linkname="b"), info("b", SYM, linkname="a")), "a", "circle"),
    Hostile("empty symlink", lambda: tar(info("a", SYM, linkname="")), "a", "unusable target"),
    Hostile("hard link outwards", lambda: tar(info("h", LINK, linkname="../../etc/passwd")), "h", "leads upwards"),
    Hostile("hard link to /etc", lambda: tar(info("h", LINK, linkname="/etc/passwd")), "h", "absolute"),
    Hostile("hard link to nothing", lambda: tar(info("h", LINK, linkname="later"), info("later")), "h", "came before it"),
    Hostile(
        "hard link to a symlink",
        lambda: tar(info("s", SYM, linkname="ok"), SMALL, info("h", LINK, linkname="s")),
        "h",
        "came before it",
    ),
    Hostile("hard link to itself", lambda: tar(info("h", LINK, linkname="h")), "h", "came before it"),
    Hostile("character device", lambda: tar(info("null", tarfile.CHRTYPE, devmajor=1, devminor=3)), "null", "character device"),
    Hostile("block device", lambda: tar(info("sda", tarfile.BLKTYPE, devmajor=8)), "sda", "block device"),
    Hostile("named pipe", lambda: tar(info("pipe", tarfile.FIFOTYPE)), "pipe", "named pipe"),
    Hostile("unknown kind", lambda: raw(b"odd", kind=b"Z") + END, "odd", "not known here"),
    Hostile("sparse", lambda: raw(b"holes", kind=b"S") + END, "holes", "sparse"),
    Hostile("sparse by pax", lambda: pax("holes", **{"GNU.sparse.major": "1"}), None, "sparse"),
    Hostile("twice", lambda: tar((info("a/x"), b"1"), (info("a/x"), b"2")), "a/x", "comes twice"),
    Hostile("twice in other words", lambda: tar((info("a/x"), b"1"), (info("a/.//x"), b"2")), "a/.//x", "comes twice"),
    Hostile("file and directory", lambda: tar(info("a"), info("a/x")), "a/x", "below the file a"),
    Hostile("directory and file", lambda: tar(info("a/x"), info("a")), "a", "comes twice"),
    Hostile("symlink over a file", lambda: tar(info("a"), info("a", SYM, linkname="ok")), "a", "comes twice"),
    Hostile("case", lambda: tar(info("Makefile"), info("makefile")), "makefile", "one name on many file systems"),
    Hostile("case of a directory", lambda: tar(info("Src/a"), info("src/b")), "src/b", "one name on many"),
    Hostile("composition", lambda: tar(info("caf\u00e9"), info("cafe\u0301")), "cafe\u0301", "one name on many"),
    Hostile("control characters", lambda: tar(info("a\nb")), "a\\nb", "control characters"),
    Hostile("escape sequence", lambda: tar(info("\x1b[2Jx")), "\\x1b[2Jx", "control characters"),
    Hostile("invisible", lambda: tar(info("safe\u202egpj.sh")), None, "cannot be seen"),
    Hostile("long component", lambda: tar(info("x" * 256)), "x" * 200, "a part of 256 bytes"),
    Hostile("long path", lambda: tar(info("/".join(["abcdefg"] * 200))), None, "has 1599 bytes"),
    Hostile("deep", lambda: tar(info("/".join(["d"] * 65))), None, "65 directories deep"),
    Hostile("git hooks", lambda: tar(info(".git/hooks/post-checkout")), ".git/hooks/post-checkout", "run commands"),
    Hostile("git hooks, shouting", lambda: tar(info("sub/.GIT/config")), "sub/.GIT/config", "run commands"),
    Hostile("no name", lambda: raw(b"") + END, "(no name)", "empty"),
    Hostile("huge extended header", lambda: raw(size=b"77777777777\0", kind=b"x"), None, "extended header of 8589934591 bytes"),
    Hostile("huge long name", lambda: raw(size=b"77777777777\0", kind=b"L"), None, "extended header of 8589934591 bytes"),
    Hostile("negative size", lambda: raw(size=b"\xff" * 12), "x", "impossible size"),
    Hostile("size that is none", lambda: raw(size=b"12abc 78901\0"), "x", "size that is no number"),
    Hostile("broken pax", lambda: raw(size=b"00000000005\0", kind=b"x", body=b"99 a=".ljust(512, b"\0")), None, "broken extended"),
    Hostile(
        "path for all", lambda: raw(size=b"00000000013\0", kind=b"g", body=b"11 path=ab\n".ljust(512, b"\0")), None, "for all members"
    ),
    Hostile("directory with content", lambda: raw(b"d/", b"00000000010\0", b"5", b"x" * 512) + END, "d/", "a directory with 8 bytes"),
    Hostile("cut off in a member", lambda: tar((info("a"), b"x" * 5000))[:2000], "a", "ends in the middle"),
    Hostile("cut off between members", lambda: tar((info("a"), b"x" * 512))[:1024], None, "without its end mark"),
    Hostile("something after the end", lambda: tar(SMALL) + tar(info("hidden")), None, "something after its end"),
    Hostile("a second header that is none", lambda: tar(SMALL)[:1024] + b"\1" * 512 + END, None, "no tar header"),
    Hostile("not an archive", lambda: b"<html>Not here</html>" * 50, None, "neither a tar nor a zip"),
    Hostile("an empty file", lambda: b"", None, "neither a tar nor a zip"),
    Hostile("nothing in it", lambda: gzip.compress(tar()), None, "nothing in it"),
    Hostile("only what is stripped", lambda: tar(info("./", DIR)), None, "nothing in it"),
    Hostile("broken gzip", lambda: patched(gzip.compress(tar(SMALL)), 30, b"\xff" * 20), None, "broken gzip"),
    Hostile("cut off gzip", lambda: gzip.compress(tar((info("a"), bytes(5000))))[:-9], None, "broken gzip|middle"),
    Hostile("wrong checksum of gzip", _wrong_checksum, None, "broken gzip"),
    Hostile("broken xz", lambda: patched(lzma.compress(tar(SMALL)), 30, b"\xff" * 20), None, "broken xz"),
    Hostile("bomb, gzip", lambda: gzip.compress(tar((info("zeros"), bytes(16 * MIB))), 9), None, "bomb"),
    Hostile("bomb, xz", lambda: lzma.compress(tar((info("zeros"), bytes(16 * MIB))), preset=0), None, "bomb"),
    Hostile("bomb, bzip2", lambda: bz2.compress(tar((info("zeros"), bytes(16 * MIB)))), None, "bomb"),
    Hostile("bomb after the end", lambda: gzip.compress(tar(SMALL) + bytes(16 * MIB), 9), None, "bomb"),
    Hostile("too many members", lambda: tar(*(info(f"f{n}") for n in range(1100))), "f1000", "more than 1000 members"),
    Hostile("too much", lambda: tar(*((info(f"f{n}"), bytes(6 * MIB)) for n in range(4))), "f3", "unfolds into more"),
    Hostile(
        "too much by hard links",
        lambda: tar((info("a"), bytes(6 * MIB)), *(info(f"h{n}", LINK, linkname="a") for n in range(4))),
        "h2",
        "unfolds into more",
    ),
    Hostile("zip: absolute", lambda: zipped(("/etc/passwd", b"x")), "/etc/passwd", "absolute"),
    Hostile("zip: upwards", lambda: zipped(("a/../../x", b"x")), "a/../../x", "leads upwards"),
    Hostile("zip: backslash", lambda: zipped(("..\\..\\x", b"x")), "..\\..\\x", "backslash"),
    Hostile("zip: zero byte", _zero_byte_zip, None, "zero byte"),
    Hostile("zip: twice", lambda: zipped(("a", b"1"), ("a", b"2")), "a", "comes twice"),
    Hostile("zip: case", lambda: zipped(("A", b"1"), ("a", b"2")), "a", "one name on many"),
    Hostile("zip: symlink outwards", lambda: zipped((entry("s", stat.S_IFLNK | 0o777), b"/etc/passwd")), "s", "out of the tree"),
    Hostile(
        "zip: through a symlink",
        lambda: zipped((entry("s", stat.S_IFLNK | 0o777), b"d"), ("s/x", b"1")),
        "s/x",
        "through the symlink",
    ),
    Hostile("zip: huge symlink", lambda: zipped((entry("s", stat.S_IFLNK | 0o777), b"x" * 5000)), "s", "target of 5000 bytes"),
    Hostile("zip: device", lambda: zipped((entry("dev", stat.S_IFCHR | 0o666), b"")), "dev", "device"),
    Hostile("zip: bytes shared", _shared_zip, "b", "shares bytes"),
    Hostile("zip: encrypted", _encrypted_zip, "secret", "encrypted"),
    Hostile("zip: lie about the size", _lying_zip, "lie", "broken"),
    Hostile("zip: bomb", lambda: zipped(("zeros", bytes(16 * MIB)), method=zipfile.ZIP_DEFLATED), "zeros", "bomb"),
    Hostile("zip: cut off", lambda: zipped(("a", b"x" * 100))[:-30], None, "no whole zip"),
    Hostile("zip: wrong checksum", lambda: zipped(("a", b"abcdef")).replace(b"abcdef", b"abcdeg"), "a", "broken"),
]
