"""Specs into a validated model, or everything that is wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from bpfbench.layout import Layout
from bpfbench.model.construct import construct
from bpfbench.model.documents import Documents
from bpfbench.model.meaning import check_all
from bpfbench.model.problems import SpecErrors, SpecProblem
from bpfbench.model.schema import Schema, read_schema, schema_of, validate
from bpfbench.model.tree import FOLDERS, LOCK, SCHEMAS, SINGLES, spec_files, stray
from bpfbench.model.types import Location, Model
from bpfbench.model.yaml import Document, parse


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, and what it was made from."""

    model: Model
    hashes: Mapping[str, str]
    """Spec or schema file, relative to the checkout → SHA-256 of the bytes that were read."""
    paths: Mapping[str, str]
    """Paths that specs name → where they really are; both relative to the checkout."""


def load(layout: Layout) -> Model:
    """Read and check everything below specs/; raises ``SpecErrors`` with all that is wrong."""
    return load_with_evidence(layout).model


def load_with_evidence(layout: Layout) -> Loaded:
    """Do as ``load``, and tell what the model depends on."""
    documents = Documents(layout.root)
    files = _read(layout, documents)
    schemas = _schemas(files, documents)
    if len(schemas) == len(SCHEMAS):
        _documents(files, schemas, documents)
        check_all(documents)
    if documents.problems:
        raise SpecErrors(_without_echoes(documents.problems))
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    return Loaded(construct(documents, digest(hashes)), hashes, documents.paths)


def digest(hashes: Mapping[str, str]) -> str:
    """Return the digest of a whole tree of specs from the hashes of its files."""
    listing = "".join(f"{hash_}  {path}\n" for path, hash_ in sorted(hashes.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def _read(layout: Layout, documents: Documents) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for path in spec_files(layout):
        if hint := stray(path):
            documents.problems.append(SpecProblem(Location(path, 1, 1), "", "nothing reads this", hint=hint))
            continue
        try:
            files[path] = (layout.root / path).read_bytes()
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
            documents.problems.append(SpecProblem(Location(path, 1, 1), "", why))
    wanted = [f"specs/{name}" for name in SINGLES] + [f"schemas/{name}.json" for name in SCHEMAS]
    for path in wanted:
        if path not in files and not any(problem.location.file == path for problem in documents.problems):
            documents.problems.append(SpecProblem(Location(path, 1, 1), "", "this file is missing"))
    return files


def _schemas(files: Mapping[str, bytes], documents: Documents) -> dict[str, Schema]:
    schemas: dict[str, Schema] = {}
    for name in SCHEMAS:
        path = f"schemas/{name}.json"
        try:
            if path in files:
                schemas[name] = read_schema(files[path], path)
        except SpecErrors as errors:
            documents.problems.extend(errors.errors)
    return schemas


def _documents(files: Mapping[str, bytes], schemas: Mapping[str, Schema], documents: Documents) -> None:
    if LOCK in files:
        documents.lock = _document(LOCK, files[LOCK], schemas["lock"], documents)
    for path, content in files.items():
        _, _, rest = path.partition("specs/")
        folder, _, name = rest.rpartition("/")
        kind = FOLDERS.get(folder) or SINGLES.get(name)
        if not rest or kind is None:
            continue
        stem = name.removesuffix(".yaml")
        if kind in documents.known:
            documents.known[kind].add(stem)
        document = _document(path, content, schemas[kind], documents)
        if document is not None and kind == "experiment":
            _driver_params(document, files, documents)
        if document is not None and kind == "package":
            _recipe_options(document, files, documents)
        if document is None:
            continue
        if kind == "profiles":
            documents.profiles = document
        elif kind == "system":
            documents.system = document
        else:
            documents.by_kind[kind][stem] = document


def _document(path: str, content: bytes, schema: Schema, documents: Documents) -> Document | None:
    try:
        document = parse(content, path)
    except SpecErrors as errors:
        documents.problems.extend(errors.errors)
        return None
    documents.problems.extend(validate(document, schema))
    return document


def _driver_params(document: Document, files: Mapping[str, bytes], documents: Documents) -> None:
    """Hold what is for the driver alone against the driver's own schema, where it has one."""
    data = document.data
    driver = data.get("driver") if isinstance(data, dict) else None
    schema = _schema_of_its_own(f"schemas/driver_{driver}.json", files, documents)
    if schema is None:
        return
    case = schema_of(schema, "case")
    documents.problems.extend(validate(document, schema, ("params",)))
    cases = data.get("cases")
    for number in range(len(cases) if isinstance(cases, list) else 0):
        documents.problems.extend(validate(document, case, ("cases", number, "params")))


def _recipe_options(document: Document, files: Mapping[str, bytes], documents: Documents) -> None:
    """Hold what is for the recipe alone against the recipe's own schema, where it has one."""
    data = document.data if isinstance(document.data, dict) else {}
    schema = _schema_of_its_own(f"schemas/recipe_{data.get('recipe')}.json", files, documents)
    if schema is None:
        return
    if "options" not in data and schema.get("required"):
        documents.wrong(document, ("options",), "missing", schema.get("x-expected"))
    documents.problems.extend(validate(document, schema, ("options",)))


def _schema_of_its_own(path: str, files: Mapping[str, bytes], documents: Documents) -> Schema | None:
    if path not in files:
        return None
    try:
        return read_schema(files[path], path)
    except SpecErrors as errors:
        documents.problems.extend(errors.errors)
        return None


def _without_echoes(problems: list[SpecProblem]) -> list[SpecProblem]:
    """Of several problems with one field, keep the first: those that follow from it only confuse."""
    first: dict[tuple[Location, str], SpecProblem] = {}
    for problem in problems:
        first.setdefault((problem.location, problem.field or problem.message), problem)
    return list(first.values())
