"""A configuration against its JSON Schema, every violation in words a person can act on.

Imports jsonschema (63 ms): import this module only where something is to be checked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jsonschema import Draft4Validator, Draft7Validator, ValidationError, validators

from backlog_ops.domain.config_rules import Finding, Path, Severity, show_path
from backlog_ops.domain.text import hint

_KINDS = {
    "object": "an object {…}",
    "array": "an array […]",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
_DEMANDS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "minLength": "must not be empty",
    "maxLength": "must have at most {} characters",
    "minItems": "must not be empty",
    "maxItems": "must have at most {} entries",
    "uniqueItems": "must not name anything twice",
}


def check_schema(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Finding]:
    # The stubs leave extend() untyped. In draft 7 the number 3.0 is an integer; it would arrive as a float.
    extend: Any = validators.extend
    validator = extend(Draft7Validator, type_checker=Draft4Validator.TYPE_CHECKER)(schema)
    found: dict[Path, Finding] = {}
    for violation in validator.iter_errors(config):
        for finding in _explain(tuple(violation.absolute_path), violation, schema):
            found.setdefault(finding.path, finding)  # of a wrong type nothing else needs to be said
    return list(found.values())


def _explain(path: Path, violation: ValidationError, schema: Mapping[str, Any]) -> Iterator[Finding]:
    section: Any = violation.schema
    found: Any = violation.instance
    keyword = str(violation.validator)
    if keyword == "additionalProperties":
        for key in [key for key in found if key not in section["properties"]]:
            yield _error((*path, key), _unknown_key(key, section, schema))
    elif keyword == "required":
        yield from _missing(path, section, found)
    else:
        yield _error(path, _demand(keyword, section))


def _missing(path: Path, section: Mapping[str, Any], found: Collection[str]) -> Iterator[Finding]:
    for key in section["required"]:
        member = section["properties"][key]
        if key in found:
            continue
        if "required" in member:
            yield from _missing((*path, key), member, ())
        else:
            yield _error((*path, key), f"is required and missing, for example {json.dumps(member['default'])}")


def schema_paths(section: Mapping[str, Any], base: Path = ()) -> Iterator[Path]:
    """Every key that a schema knows, sections before their members."""
    for key, member in section.get("properties", {}).items():
        yield (*base, key)
        yield from schema_paths(member, (*base, key))


def _demand(keyword: str, section: Mapping[str, Any]) -> str:
    """What the keyword demands. The value found is left out: it may be a key in the wrong place."""
    value = section[keyword]
    if keyword == "type":
        kinds = [value] if isinstance(value, str) else value
        return "must be " + " or ".join(_KINDS[kind] for kind in kinds)
    if keyword == "enum":
        return "must be one of " + ", ".join(json.dumps(choice) for choice in value)
    if keyword == "pattern":
        return f"must look like {json.dumps(section['default'])}"
    return _DEMANDS[keyword].format(value)


def _unknown_key(key: str, section: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if near := hint(key, section["properties"]):
        return f"unknown key{near}"
    if elsewhere := [show_path(path) for path in schema_paths(schema) if path[-1] == key]:
        return f"unknown key; did you mean {' or '.join(elsewhere)}?"
    return "unknown key"


def _error(path: Path, message: str) -> Finding:
    return Finding(Severity.ERROR, path, message)
