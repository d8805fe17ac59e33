"""Method *git*: a pinned commit with all its submodules, nothing of a repository's history, and never a question.

Fields: ``url``, ``ref`` (branch, tag or commit; the reference unless given), ``submodules``, ``commit`` once pinned. What comes out is
the tracked files byte for byte: attributes that rewrite files (line ends, export-subst, filters) do not apply, since a
tree must not depend on who checks it out. Ways to a commit, in this order: asking for it alone, which big hosts
allow; asking for its branch or tag alone; everything. (A partial clone would not help: a server that knows those
also gives single commits.)
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfbench.errors import BenchError
from bpfbench.fetch.errors import Mismatch, Refused, Unavailable
from bpfbench.fetch.tools import Obtained, Tools, environment
from bpfbench.fetch.unpack import unpack

COMMIT = re.compile(r"[0-9a-f]{40}")
DEPTH = 8
"""Submodules within submodules."""
_NO_CONFIGURATION = {
    "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ASKPASS": "",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=15", "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_REPLACE_OBJECTS": "1", "GIT_ATTR_NOSYSTEM": "1", "GIT_ALLOW_PROTOCOL": "https:http:file:git:ssh",
}  # fmt: skip
_SETTINGS = (
    "credential.helper=", "core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false",
    "fetch.fsckObjects=true", "fetch.fsck.zeroPaddedFilemode=ignore", "fetch.fsck.missingSpaceBeforeDate=ignore",
    "protocol.version=2", "http.lowSpeedLimit=1", "http.lowSpeedTime=30", "advice.detachedHead=false",
    "fetch.recurseSubmodules=false", "init.defaultBranch=main",
)  # fmt: skip
_ALL = 2**31 - 1
_HEADS = "+refs/heads/*:refs/all/*"
_AS_IT_IS = "* -export-ignore -export-subst -text -eol -crlf -ident -filter -working-tree-encoding\n"
_UNREACHABLE = re.compile(
    r"Could not resolve|Failed to connect|Connection timed out|Connection refused|Network is unreachable|unable to connect"
    r"|No route to host|Operation timed out|Operation too slow"
)


@dataclass(frozen=True, slots=True)
class _Link:
    """A submodule as a commit names it."""

    path: str
    commit: str
    url: str | None
    """None: .gitmodules does not say where it is, so git leaves an empty directory as well."""


def obtain(fields: Mapping[str, Any], reference: str, tree: Path, tools: Tools) -> Obtained:
    """Fill ``tree`` with a commit. Raises ``Unavailable``, ``Mismatch`` or ``Refused``."""
    url, ref = fields["url"], str(fields.get("ref", reference))
    pinned = fields.get("commit")
    repository = _Repository(url, tools)
    commit = pinned or repository.resolve(ref)
    repository.fetch(commit, ref)
    repository.unfold(commit, tree)
    found: dict[str, dict[str, str]] = {}
    if fields.get("submodules"):
        _submodules(repository, commit, tree, "", found, tools)
    return Obtained(commit, {"commit": commit}, found)


def _submodules(
    parent: _Repository, commit: str, tree: Path, prefix: str, found: dict[str, dict[str, str]], tools: Tools
) -> None:
    if prefix.count("//") >= DEPTH:
        raise Refused(parent.url, prefix, f"submodules more than {DEPTH} levels deep")
    for link in parent.links(commit):
        place = tree / link.path
        if place.is_symlink() or not place.is_dir() or any(place.iterdir()):
            raise Refused(parent.url, link.path, "a submodule where something else is")
        if link.url is None:
            continue
        repository = _Repository(link.url, tools)
        repository.fetch(link.commit, None)
        repository.unfold(link.commit, place)
        found[(prefix + link.path).replace("//", "/")] = {"url": link.url, "commit": link.commit}
        _submodules(repository, link.commit, place, f"{prefix}{link.path}//", found, tools)


class _Repository:
    """A bare repository of our own, made for this call, for what is fetched from ``url``."""

    def __init__(self, url: str, tools: Tools) -> None:
        if not re.match(r"(https?|file|git|ssh)://", url):
            raise Refused(url, None, "not an address that git is used with here (https://…)")
        self.url = url
        self.host = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
        self._tools = tools
        if self.host:
            tools.reach.check(self.host)
        self._place = tools.place("git")
        self._git("init", "--quiet", "--bare", ".")
        (self._place / "info").mkdir(exist_ok=True)
        (self._place / "info" / "attributes").write_text(_AS_IT_IS)

    def resolve(self, ref: str) -> str:
        """Return the commit that a branch, tag or commit means now."""
        if COMMIT.fullmatch(ref):
            return ref
        ok, out, err = self._try("ls-remote", "--", self.url, f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}")
        if not ok:
            raise self._failure(err)
        found = {name: commit for commit, name in (line.split("\t") for line in out.splitlines() if "\t" in line)}
        for name in (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"):
            if name in found:
                return found[name]
        raise Unavailable(f"{self.url} has no branch and no tag called {ref}")

    def fetch(self, commit: str, ref: str | None) -> None:
        """Get one commit, without its history where the server allows that."""
        ways = [("--depth=1", commit)]
        if ref and not COMMIT.fullmatch(ref):
            ways += [("--depth=1", f"refs/tags/{ref}"), ("--depth=1", f"refs/heads/{ref}")]
        # All of history, also where a shallow part is here already; and for web servers that only serve files.
        ways += [(f"--depth={_ALL}", _HEADS), ("--tags", _HEADS)]
        err = ""
        for depth, what in ways:
            ok, _, err = self._try("fetch", "--progress", "--no-write-fetch-head", "--no-tags", depth, "--", self.url, what)
            if ok and self._has(commit):
                return
            if not ok and (_UNREACHABLE.search(err) or "not found" in err or "does not appear to be a git" in err):
                break
        if not ok:
            raise self._failure(err)
        raise Unavailable(f"{self.url} does not have the commit {commit} any more")

    def unfold(self, commit: str, tree: Path) -> None:
        """Put the files of a commit into ``tree``, under the rules for archives."""
        self._tools.progress(f"unpacking {self.url.rstrip('/').rpartition('/')[2]}")
        packed = self._place / "tree.tar"
        self._git("archive", "--format=tar", f"--output={packed}", commit)
        unpack(packed, tree, name=self.url, limits=self._tools.limits, progress=self._tools.progress)
        packed.unlink()

    def links(self, commit: str) -> list[_Link]:
        """Return the submodules that a commit names, with addresses made absolute."""
        listed = self._git("ls-tree", "-r", "-z", "--full-tree", commit).split("\0")
        rows = [row.split("\t", 1) for row in listed if row.startswith("160000 ")]
        if not rows:
            return []
        ok, out, _ = self._try("config", "--blob", f"{commit}:.gitmodules", "--list", "-z")
        said: dict[str, dict[str, str]] = {}
        for entry in out.split("\0") if ok else []:
            key, _, value = entry.partition("\n")
            if found := re.fullmatch(r"submodule\.(.*)\.(path|url)", key, re.DOTALL):
                said.setdefault(found[1], {})[found[2]] = value
        urls = {module["path"]: module.get("url") for module in said.values() if "path" in module}
        return [_Link(path, row.split()[2], self._absolute(urls.get(path), path)) for row, path in rows]

    def _absolute(self, url: str | None, path: str) -> str | None:
        """Resolve ``./`` and ``../`` as git does: against the address of the repository that names the submodule."""
        if url is None:
            return None
        base = self.url.rstrip("/")
        if url.startswith(("./", "../")):
            rest = url
            while rest.startswith(("./", "../")):
                up, _, rest = rest.partition("/")
                base = base.rpartition("/")[0] if up == ".." else base
            url = f"{base}/{rest}"
        if url.startswith("file://") and not self.url.startswith("file://"):
            raise Refused(self.url, path, f"a submodule on this machine's own disk ({url})")
        return url

    def _has(self, commit: str) -> bool:
        return self._try("cat-file", "-e", f"{commit}^{{commit}}")[0]

    def _git(self, *words: str) -> str:
        ok, out, err = self._try(*words)
        if not ok:
            raise BenchError(f"git {words[0]} failed on what came from {self.url}: {_last(err)}")
        return out

    def _try(self, *words: str) -> tuple[bool, str, str]:
        argv = ["git", *(word for setting in _SETTINGS for word in ("-c", setting)), *words]
        remote = words[0] in ("fetch", "ls-remote")
        host = self.host if remote else None
        patience = self._tools.connect
        try:
            if not remote:
                self._tools.connect = self._tools.silence * 10
            ended, out, err = self._tools.run(
                tuple(argv), cwd=self._place, env={**environment(self._place), **_trust(), **_NO_CONFIGURATION},
                what=f"git {words[0]}" if not host else f"git {words[0]} from {host}", host=host, signs=_sign,
            )  # fmt: skip
        except Unavailable as error:
            if error.host:
                self._tools.reach.failed(error.host, str(error))
            raise
        finally:
            self._tools.connect = patience
        if remote and ended.ok and host:
            self._tools.reach.reached(host)
        return ended.ok, out, err

    def _failure(self, said: str) -> Unavailable:
        if _UNREACHABLE.search(said) and self.host:
            reason = f"{self.host} is out of reach: {_last(said)}"
            self._tools.reach.failed(self.host, reason)
            return Unavailable(reason, host=self.host)
        return Unavailable(f"{self.url}: {_last(said)}")


def _trust() -> dict[str, str]:
    """Return whose certificates git is to trust: it does not look at the variables that other programs share."""
    shared = {"GIT_SSL_CAINFO": ("SSL_CERT_FILE", "CURL_CA_BUNDLE"), "GIT_SSL_CAPATH": ("SSL_CERT_DIR",)}
    given = {own: next((os.environ[name] for name in (own, *names) if os.environ.get(name)), None) for own, names in shared.items()}
    return {name: value for name, value in given.items() if value}


def check_submodules(pinned: Mapping[str, Mapping[str, str]], found: Mapping[str, Mapping[str, str]], name: str) -> None:
    """See that the submodules of a source are those of the lock, commit by commit. Raises ``Mismatch``."""
    for path in sorted({*pinned, *found}):
        expected, got = pinned.get(path, {}).get("commit", "none"), found.get(path, {}).get("commit", "none")
        if expected != got:
            raise Mismatch(f"{name}: another commit of the submodule {path}", expected, got)


def hashes(tree: Path, paths: Mapping[str, Any]) -> dict[str, str]:
    """Return the tree hash of every submodule, as it lies in the tree."""
    from bpfbench.store.nar import nar_hash

    return {path: nar_hash(tree / path) for path in paths}


def _sign(line: str) -> str | None:
    found = re.match(r"(?:remote: )?((?:Counting|Compressing|Receiving|Resolving|Enumerating)[\w ]*:\s+\d+(?:%)?)", line)
    return found[1] if found else None


def _last(said: str) -> str:
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.strip() and not line.startswith("hint:")]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR:"))]
    return (fatal or lines or ["no reason given"])[0].strip()[:300]


