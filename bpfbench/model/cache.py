"""The validated model, kept between runs.

A cache file is lines of JSON, so that reading one cannot run anything:

    0  magic, format version and CRC of the rest
    1  stamps of all spec, schema and model code files; while they are equal, no content is looked at
    2  SHA-256 of the same files, for when stamps differ and contents do not (a fresh clone, a touch)
    3  paths that specs name, and where they really are: they must still be there
    4  everything but experiments, of which it has the outlines
    5… one experiment each, decoded when it is first looked at

Whatever is wrong with the file: it is ignored, and the specs are read.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import time_ns
from typing import Any

from bpfbench.layout import Layout
from bpfbench.model import rows
from bpfbench.model.outline import Outline, outline_of
from bpfbench.model.tree import Stamp, code_files, spec_files
from bpfbench.model.types import Experiment, Model

FORMAT = 5
"""Raised whenever lines or rows change their meaning."""
SETTLED = 50_000_000
"""Nanoseconds. A file changed more recently than this may change again without its times showing it."""

_MAGIC = b"bpfbench model"
_Stamps = dict[str, Stamp]


def load_cached(layout: Layout) -> Model:
    """Return the validated model, from the cache where nothing has changed since it was written.

    Raises ``SpecErrors`` as ``load`` does; problems with the cache itself are never errors.
    """
    now = time_ns()
    stamps = _stamps(layout)
    settled = _settled(stamps, now)
    lines = _read(layout)
    if lines is not None:
        unchanged = lines[1] == _encode(stamps)
        if (unchanged or _same_contents(layout, stamps, lines)) and _still_there(layout, lines[3]):
            if not unchanged:
                _write(layout, [_encode(settled), *lines[2:]])
            return _model(lines)
    return _load_and_keep(layout, settled)


def cache_file(layout: Layout) -> Path:
    """Return where the cache of this checkout is."""
    return layout.state / "model.cache"


class LazyExperiments(Mapping[str, Experiment]):
    """Experiments by name, each decoded when it is first looked at."""

    def __init__(self, outlines: list[Outline], lines: list[bytes]) -> None:
        self.outlines = outlines
        self._lines = dict(zip([outline.name for outline in outlines], lines, strict=True))
        self._made: dict[str, Experiment] = {}

    def __getitem__(self, name: str) -> Experiment:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = rows.experiment(json.loads(self._lines[name]))
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, name: object) -> bool:
        return name in self._lines

    def __repr__(self) -> str:
        return f"LazyExperiments({list(self._lines)})"


def _stamps(layout: Layout) -> _Stamps:
    code = {f"code:{name}": stamp for name, stamp in code_files().items()}
    return {**spec_files(layout), **code}


def _settled(stamps: _Stamps, now: int) -> _Stamps:
    """Blank the stamps of files that had just changed ``now``: next time their content is looked at."""
    limit = now - SETTLED
    return {path: stamp if max(stamp[1], stamp[3]) < limit else [] for path, stamp in stamps.items()}


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _read(layout: Layout) -> list[bytes] | None:
    try:
        descriptor = os.open(cache_file(layout), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            head, _, body = file.read().partition(b"\n")
    except OSError:
        return None
    if head != _head(body):
        return None
    return [head, *body.split(b"\n")]


def _head(body: bytes) -> bytes:
    return b"%s %d %08x" % (_MAGIC, FORMAT, zlib.crc32(body))


def _same_contents(layout: Layout, stamps: _Stamps, lines: list[bytes]) -> bool:
    """Tell whether files whose stamps differ have the content that they had."""
    before, hashes = json.loads(lines[1]), json.loads(lines[2])
    if before.keys() != stamps.keys():
        return False
    differing = [path for path, stamp in stamps.items() if stamp != before[path]]
    return all(_hash(layout, path) == hashes[path] for path in differing)


def _hash(layout: Layout, path: str) -> str | None:
    import hashlib

    code = path.startswith("code:")
    there = Path(__file__).with_name(path.removeprefix("code:")) if code else layout.root / path
    try:
        return hashlib.sha256(there.read_bytes()).hexdigest()
    except OSError:
        return None


def _still_there(layout: Layout, line: bytes) -> bool:
    root = os.path.realpath(layout.root)
    for path, real in json.loads(line).items():
        there = os.path.normpath(f"{root}/{real}")  # a recipe may lie elsewhere, behind a link
        if os.path.realpath(f"{root}/{path}") != there or _kind(there) != path.endswith("/"):
            return False
    return True


def _kind(path: str) -> bool | None:
    """Tell whether ``path`` is a directory; None where there is nothing."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        return None


def _model(lines: list[bytes]) -> Model:
    digest, default, known, *plain = json.loads(lines[4])
    outlines = [Outline(name, title, *map(tuple, lists)) for name, title, *lists in known]
    sources, packages, runtimes, profiles, requirements = plain
    return Model(
        sources={row[0]: rows.source(row) for row in sources},
        packages={row[0][0]: rows.package(row) for row in packages},
        runtimes={row[0][0]: rows.runtime(row) for row in runtimes},
        experiments=LazyExperiments(outlines, lines[5:]),
        profiles={row[0][0]: rows.profile(row) for row in profiles},
        default_profile=default,
        requirements={row[0]: rows.requirement(row) for row in requirements},
        digest=digest,
    )


def _load_and_keep(layout: Layout, stamps: _Stamps) -> Model:
    from bpfbench.model.load import load_with_evidence

    loaded = load_with_evidence(layout)
    hashes = {path: loaded.hashes.get(path) or _hash(layout, path) for path in stamps}
    if set(loaded.hashes) | {path for path in stamps if path.startswith("code:")} == stamps.keys():
        model = loaded.model
        # A directory is marked by a slash, so that a file put in its place is noticed.
        paths = {
            path + ("/" if (layout.root / path).is_dir() else ""): real for path, real in loaded.paths.items()
        }
        _write(layout, [_encode(stamps), _encode(hashes), _encode(paths), *_model_lines(model)])
    return loaded.model


def _model_lines(model: Model) -> list[bytes]:
    common = [
        model.digest,
        model.default_profile,
        [outline_of(experiment, model) for experiment in model.experiments.values()],
        [rows.source_row(source) for source in model.sources.values()],
        [rows.package_row(package) for package in model.packages.values()],
        [rows.runtime_row(runtime) for runtime in model.runtimes.values()],
        [rows.profile_row(profile) for profile in model.profiles.values()],
        [rows.requirement_row(requirement) for requirement in model.requirements.values()],
    ]
    experiments = (rows.experiment_row(experiment) for experiment in model.experiments.values())
    return [_encode(common), *map(_encode, experiments)]


def _write(layout: Layout, lines: list[bytes]) -> None:
    """Replace the cache in one step; where that cannot be, do without."""
    body = b"\n".join(lines)
    target = cache_file(layout)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(_head(body) + b"\n" + body)
        temporary.replace(target)
    except OSError:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            return
