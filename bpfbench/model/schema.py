"""Validation of one document against its JSON Schema, with errors in plain words.

The words stand in the schemas: ``x-expected`` says what a place wants, ``x-hint`` what to do. Beside what
a schema says, ``integer`` means an integer as written (``1.0`` is none), and a pattern never matches a text
that ends in a line break.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import SchemaError

from bpfbench.model.problems import Path, SpecErrors, SpecProblem, did_you_mean, field_name, found, nearest
from bpfbench.model.types import Location
from bpfbench.model.yaml import Document

Schema = Mapping[str, Any]
# A ValidationError, every attribute of which has a type that also allows for its not being set.
_Error = Any
_CHILDREN = {"properties", "items", "additionalProperties", "propertyNames"}
_TOO_FEW = {"minItems", "minProperties", "minLength"}


@cache
def read_schema(text: bytes, file: str) -> Schema:
    """Read a JSON Schema; raises ``SpecErrors`` where it is none (``file`` is the name used in messages)."""
    try:
        schema = json.loads(text)
        Draft202012Validator.check_schema(schema)
        schema = {**_inlined(schema, schema.get("$defs", {})), "$defs": schema.get("$defs", {})}
    except json.JSONDecodeError as error:
        at = Location(file, error.lineno, error.colno)
        raise SpecErrors([SpecProblem(at, "", f"not valid JSON: {error.msg}")]) from None
    except (SchemaError, ValueError, LookupError, AttributeError, RecursionError) as error:
        message = error.message if isinstance(error, SchemaError) else str(error)
        raise SpecErrors([SpecProblem(Location(file, 1, 1), "", f"not a JSON Schema: {message}")]) from None
    if not isinstance(schema, dict):
        raise SpecErrors([SpecProblem(Location(file, 1, 1), "", "not a schema of a mapping")])
    return schema


def _inlined(here: Any, definitions: Schema) -> Any:
    """Put definitions in place of the references to them.

    Validation takes less time without, and an error then has all of its schema at hand. Our schemas refer to
    their own ``$defs`` alone, and say no more beside a reference than an annotation of this place's own.
    """
    if isinstance(here, list):
        return [_inlined(item, definitions) for item in here]
    if not isinstance(here, dict):
        return here
    around = {
        key: _inlined(value, definitions) for key, value in here.items() if key not in {"$ref", "$defs"}
    }
    if "$ref" not in here:
        return around
    return {**_inlined(definitions[here["$ref"].removeprefix("#/$defs/")], definitions), **around}


def schema_of(schema: Schema, definition: str) -> Schema:
    """Return one of a schema's ``$defs`` as a schema of its own."""
    found = schema["$defs"][definition]
    return dict(_inlined(found, schema["$defs"]))


def validate(document: Document, schema: Schema, place: Path = ()) -> list[SpecProblem]:
    """Return every way in which the document, or what it has at ``place``, does not fit the schema."""
    here: Any = document.data
    for step in place:
        if not (isinstance(here, dict) and step in here) and not (isinstance(here, list) and isinstance(step, int)):
            return []
        here = here[step]  # type: ignore[index] # checked just above
    problems: list[SpecProblem] = []
    for error in _VALIDATOR(schema).iter_errors(here):
        error.path.extendleft(reversed(place))
        problems += _tell(document, schema, error)
    return list(dict.fromkeys(problems))


def _tell(document: Document, schema: Schema, error: _Error) -> Iterator[SpecProblem]:
    path: Path = tuple(error.absolute_path)
    keyword = error.validator
    if keyword == "additionalProperties":
        yield from _unknown(document, path, error)
    elif keyword == "required":
        yield from _missing(document, path, error)
    elif "propertyNames" in error.absolute_schema_path:
        inside = (*path, str(error.instance))
        expected = _annotation(schema, error, "x-expected")
        yield SpecProblem(document.key(inside), field_name(inside), "not a valid name", expected)
    elif keyword == "uniqueItems":
        yield from _repeated(document, path, error.instance)
    elif keyword == "enum":
        yield _not_one_of(document, path, error)
    else:
        yield _wrong(document, path, schema, error)


def _unknown(document: Document, path: Path, error: _Error) -> Iterator[SpecProblem]:
    known = error.schema.get("properties", {})
    for name in error.instance:
        if name not in known:
            inside = (*path, name)
            # What is there already cannot have been meant.
            hint = did_you_mean(name, set(known) - set(error.instance)) or did_you_mean(name, known)
            expected = "one of: " + ", ".join(known)
            yield SpecProblem(document.key(inside), field_name(inside), "unknown field", expected, hint)


def _missing(document: Document, path: Path, error: _Error) -> Iterator[SpecProblem]:
    known = error.schema.get("properties", {})
    absent = [name for name in error.validator_value if name not in error.instance]
    misspelt = {
        nearest(name, set(known) - set(error.instance)): name for name in error.instance if name not in known
    }
    for name in absent:
        if name in misspelt and error.schema.get("additionalProperties") is False:
            # The misspelt field is told as unknown; that the right one is missing would say it twice.
            continue
        of_field = known.get(name, True)
        words = of_field.get("x-expected") if isinstance(of_field, Mapping) else None
        inside = (*path, name)
        hint = f'did you mean it by "{misspelt[name]}"?' if name in misspelt else None
        yield SpecProblem(document.value(path), field_name(inside), "missing", words, hint)


def _repeated(document: Document, path: Path, items: list[Any]) -> Iterator[SpecProblem]:
    for index, item in enumerate(items):
        for earlier in range(index):
            if items[earlier] == item:
                inside = (*path, index)
                at, field, message = document.value(inside), field_name(inside), f"given twice: {found(item)}"
                hint = f"the first is at {document.value((*path, earlier))}"
                yield SpecProblem(at, field, message, "every item once", hint)
                break


def _not_one_of(document: Document, path: Path, error: _Error) -> SpecProblem:
    valid = [str(value) for value in error.validator_value]
    hint = did_you_mean(error.instance, valid) if isinstance(error.instance, str) else None
    if hint is None and str(error.instance) in valid and not isinstance(error.instance, bool):
        hint = f'put it in quotes: "{error.instance}"'
    message, expected = f"found {found(error.instance)}", "one of: " + ", ".join(valid)
    return SpecProblem(document.value(path), field_name(path), message, expected, hint)


def _wrong(document: Document, path: Path, schema: Schema, error: _Error) -> SpecProblem:
    value = error.instance
    message = f"found {found(value)}"
    if error.validator in _TOO_FEW and value:
        message = f"too short: {found(value)}"
    elif error.validator == "oneOf" and isinstance(value, dict):
        message = _alternatives(error)
    hint = _annotation(schema, error, "x-hint")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and error.validator == "type" and "string" in error.validator_value:
        # A hint that leads into the next error is worse than none.
        fits = re.search(error.schema.get("pattern", ""), str(value))
        hint = "put it in quotes" if fits else hint
    expected = _annotation(schema, error, "x-expected")
    return SpecProblem(document.value(path), field_name(path), message, expected, hint)


def _alternatives(error: _Error) -> str:
    """Say which of several fields that exclude each other are there."""
    names = [name for alternative in error.validator_value for name in alternative.get("required", ())]
    present = [name for name in names if name in error.instance]
    return f"has {_and(present)} at once" if present else f"has none of {_and(names)}"


def _and(names: list[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _annotation(schema: Schema, error: _Error, key: str) -> str | None:
    """Return the outermost annotation among the schemas that speak of the value that is wrong."""
    here: Any = schema
    words: str | None = here.get(key)
    *path, _ = error.absolute_schema_path
    steps = iter(path)
    for step in steps:
        here = here[step]
        if step in _CHILDREN:
            words = None
        if step in {"properties", "allOf"}:
            here = here[next(steps)]
        words = words or here.get(key)
    return words


def _is_integer(_checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    # In Python, unlike in ECMAScript, $ also matches before a line break at the end.
    if isinstance(value, str) and (value.endswith("\n") or not re.search(pattern, value)):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_VALIDATOR: Any = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)
