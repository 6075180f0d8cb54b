"""Answers that must be JSON: what a provider can enforce, and what is always checked afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from backlog_ops.errors import UnreachableError, UsageError
from backlog_ops.llm.types import Call

_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\r?\n(.*?)\r?\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)

# Claude's constrained decoding knows no bounds and no combinations; what is left out here, `Check` enforces.
_LEFT_OUT = {
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "format"),
    *("minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains"),
    *("minProperties", "maxProperties", "patternProperties", "propertyNames"),
    *("dependentRequired", "dependentSchemas", "if", "then", "else", "not"),
    *("default", "examples", "$schema", "$id", "$comment", "title"),
}


def json_text(answer: str) -> str:
    """The JSON of an answer: as it is, or out of the one code fence around all of it."""
    fenced = _FENCED.fullmatch(answer)
    return (fenced.group(1) if fenced else answer).strip()


class Check:
    """Whether answers pass one JSON Schema (2020-12 unless it names another draft).

    Raises UsageError for a schema that is none, UnreachableError where the package jsonschema is missing.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            import jsonschema
            from referencing import Registry
        except ImportError:
            raise UnreachableError(
                "answers cannot be checked against a schema: the Python package jsonschema is not installed; "
                "run it through bin/backlog-ops or scripts/ops/llm_call.sh, which bring it"
            ) from None
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(dict(schema))
        except jsonschema.SchemaError as error:
            raise UsageError(f"not a JSON Schema: {error.json_path}: {error.message}") from None
        self._schema = schema
        # An empty registry: a $ref to another host is an error, never a download.
        self._validator = kind(schema, registry=Registry())

    def complaint(self, text: str) -> tuple[Any, str | None]:
        """(the value, None) for an answer that passes, else (None, the reason in one line)."""
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            value = json.loads(text, parse_constant=_no_constant)
        except RecursionError:
            return None, "it is nested too deeply"
        except ValueError as error:
            return None, f"it is not JSON: {error}"
        if _echoes(value, self._schema):
            return None, "it repeats the schema instead of giving a value for it"
        try:
            fault = best_match(self._validator.iter_errors(value))
        except Unresolvable as unresolvable:
            raise UsageError(f"the schema refers to something it does not hold: {unresolvable.ref}") from None
        if fault is None:
            return value, None
        return None, f"{fault.json_path}: {fault.message}"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _echoes(value: Any, schema: Mapping[str, Any]) -> bool:
    if not isinstance(value, dict):
        return False
    return value == schema or ("properties" in schema and value.get("properties") == schema["properties"])


def with_schema_in_words(call: Call) -> Call:
    """For a provider that cannot enforce the schema: the same call with the schema in its system prompt."""
    wish = f"Answer with one JSON value and nothing else. It must pass this JSON Schema:\n{json.dumps(call.schema)}"
    return call._replace(system=f"{call.system}\n\n{wish}".lstrip(), schema=None)


def claude_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The part of a schema that Claude's structured outputs enforce; None where they cannot.

    They want closed objects (`additionalProperties: false`), so an object with free keys cannot be said.
    """
    try:
        narrowed = _narrowed(schema)
    except _CannotSayError:
        return None
    return narrowed if narrowed.get("type") == "object" else None


class _CannotSayError(Exception):
    pass


def _narrowed(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise _CannotSayError  # `true`: anything goes
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ("properties", "$defs", "definitions"):
            kept[keyword] = {name: _narrowed(part) for name, part in value.items()}
        elif keyword in ("anyOf", "allOf", "oneOf"):
            kept["anyOf" if keyword == "oneOf" else keyword] = [_narrowed(part) for part in value]
        elif keyword == "items":
            kept[keyword] = _narrowed(value)
        elif keyword == "prefixItems" or (keyword == "$ref" and not str(value).startswith("#/")):
            raise _CannotSayError
        elif keyword not in _LEFT_OUT:
            kept[keyword] = value
    if "object" in _types(kept):
        if "properties" not in kept or kept.get("additionalProperties", False) is not False:
            raise _CannotSayError
        kept["additionalProperties"] = False
    return kept


def _types(schema: Mapping[str, Any]) -> tuple[str, ...]:
    named = schema.get("type", ())
    return (named,) if isinstance(named, str) else tuple(named)
