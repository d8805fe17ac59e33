"""Method *pypi*: a wheel or source distribution, by the machine's own pip with its own configuration.

Fields: ``project``, ``version``, ``file``, ``strip``, ``sha256`` once pinned. A wheel is unpacked as the zip that it is and never
installed: nothing of it gets into .venv, and none of its code runs.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfbench.errors import BenchError
from bpfbench.fetch.archive import unfold
from bpfbench.fetch.errors import Mismatch, Unavailable
from bpfbench.fetch.tools import Obtained, Tools, environment
from bpfbench.process.identity import invoker

HOST = "the Python package index"
_SETTINGS = tuple(
    f"PIP_{name}"
    for name in (
        "CERT", "CLIENT_CERT", "CONFIG_FILE", "EXTRA_INDEX_URL", "FIND_LINKS", "INDEX_URL", "KEYRING_PROVIDER", "NO_INDEX", "PROXY",
        "TRUSTED_HOST",
    )
)  # fmt: skip
"""Pip's settings that say how packages are reached; others would change what is done with them."""
_UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeout|Max retries|Temporary failure in name|Name or service|ReadTimeout|unreachable"
)


def obtain(fields: Mapping[str, Any], reference: str, tree: Path, tools: Tools) -> Obtained:
    """Fill ``tree``. Raises ``Unavailable``, ``Mismatch`` or ``Refused``."""
    sha256, file = fields.get("sha256"), fields["file"]
    wheel = file.endswith(".whl")
    if not wheel and sha256 is None:
        # To name its requirements, pip runs code of a source distribution: not before it is known to be the right one.
        hint = f"add the sha256 of {file}, as its project publishes it, to this origin"
        raise BenchError(f"{file}: a source distribution is not downloaded without its SHA-256", hint=hint)
    tools.reach.check(HOST)
    path = _download(fields["project"], fields.get("version", reference), file, sha256, tools)
    got = _sha256(path)
    if sha256 not in (None, got):
        raise Mismatch(f"{file}: the file has another SHA-256", sha256, got)
    unfold(path, tree, tools, file, int(fields.get("strip", 0 if wheel else 1)))
    return Obtained(str(fields.get("version", reference)), {"sha256": got})


def _download(project: str, version: str, file: str, sha256: str | None, tools: Tools) -> Path:
    place = tools.place("pip")
    wanted = place / "wanted.txt"
    wanted.write_text(f"{project}=={version}" + (f" --hash=sha256:{sha256}" if sha256 else "") + "\n")
    kind = "--only-binary" if file.endswith(".whl") else "--no-binary"
    argv = (
        *_pip(), "download", "--no-deps", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "--retries=0",
        f"--timeout={tools.connect:.0f}", kind, project, *(["--require-hashes"] if sha256 else []),
        "--dest", str(place / "files"), "-r", str(wanted),
    )  # fmt: skip
    tools.progress(f"{HOST}: looking for {file}")
    env = environment(_home(), *_SETTINGS)
    try:
        ended, out, err = tools.run(argv, cwd=place, env=env, what=HOST, host=HOST, signs=_sign)
    except Unavailable as error:
        if error.host:
            tools.reach.failed(HOST, str(error))
        raise
    found = sorted((place / "files").glob("*"))
    if ended.ok and [path.name for path in found] == [file]:
        tools.reach.reached(HOST)
        return found[0]
    raise _why_not(project, version, file, [path.name for path in found], out + err, tools)


def _why_not(project: str, version: str, file: str, found: list[str], said: str, tools: Tools) -> BenchError:
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in said:
        expected, got = re.search(r"Expected sha256 (\w+)", said), re.search(r"Got\s+(\w+)", said)
        what = f"{file}: the file has another SHA-256"
        return Mismatch(what, expected[1] if expected else "(see log)", got[1] if got else "(see log)")
    if found:
        return Unavailable(f"{HOST} has {', '.join(found)} of {project} {version} for this machine, not {file}")
    errors = [line.strip() for line in said.splitlines() if line.startswith("ERROR")]
    if _UNREACHABLE.search(said):
        reason = f"{HOST} is out of reach: {errors[-1] if errors else 'no connection'}"
        tools.reach.failed(HOST, reason)
        return Unavailable(reason, host=HOST)
    if "No module named pip" in said:
        return Unavailable("this Python has no pip", hint="apt-get install python3-pip")
    return Unavailable(f"{HOST} does not give {file}: {'; '.join(errors[:2]) or said.strip()[-200:]}")


def _pip() -> tuple[str, ...]:
    return (sys.executable, "-m", "pip")


def _home() -> Path:
    """Return where the machine's user keeps the configuration of pip."""
    user = invoker()
    return user.home if user else Path.home()


def _sign(line: str) -> str | None:
    """Tell what pip does, from a line that it writes once it hears from an index."""
    return line.strip() if line.lstrip().startswith(("Collecting", "Downloading", "Using cached", "Saved")) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
