"""Avro schemas as JSON has them: names, composition, canonical form, fingerprint, and what may be left out of them.

A schema of ours consists of records, enums, fixed, arrays, primitive types without floats, and unions that are
null and one type, or records. Each of its files defines one named type and refers to others by full name; a
composed schema holds each definition once, where it first occurs, as Avro wants it.

A field may carry `"format"`, which Avro ignores and our readers, writers and payload models hold values to:
key (part of a table's key), decimal (plain decimal text), code, nik, currency, date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fastavro.schema import fingerprint as fastavro_fingerprint
from fastavro.schema import to_parsing_canonical_form

Schema: TypeAlias = Any
"""An Avro schema as JSON has it."""

KEY_BYTES = 255
"""Longest text, in UTF-8, that may be part of a table's key: indexes hold no longer ones."""
DECIMAL = re.compile(r"(?!-0(?:\.0*)?\Z)-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,40})?")
"""Plain decimal text, the same in every database: no exponent, no leading zeros, no minus zero."""
FIRST_MICROS, LAST_MICROS = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999."""
INSTANTS = {
    "timestamp-micros": (FIRST_MICROS, LAST_MICROS),
    "timestamp-millis": (FIRST_MICROS // 1000, LAST_MICROS // 1000),
}
FINGERPRINT_BYTES = 8

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def full_name(schema: Mapping[str, Any]) -> str:
    return f"{schema['namespace']}.{schema['name']}" if schema.get("namespace") else str(schema["name"])


def field_name(name: str) -> str:
    """The name, once it is known to be one: it becomes part of a program."""
    if not _NAME.fullmatch(name):
        raise TypeError(f"not a field name: {name!r}")
    return name


def names_of(schema: Schema, found: dict[str, Schema] | None = None) -> dict[str, Schema]:
    """Every named type that a composed schema defines, by full name."""
    found = {} if found is None else found
    if isinstance(schema, list):
        for branch in schema:
            names_of(branch, found)
    elif isinstance(schema, dict):
        if schema["type"] in ("record", "enum", "fixed"):
            found[full_name(schema)] = schema
        for field in schema.get("fields", ()):
            names_of(field["type"], found)
        if schema["type"] == "array":
            names_of(schema["items"], found)
    return found


def may_be_absent(schema: Schema) -> bool:
    """Whether it is a union of null and one type."""
    return isinstance(schema, list) and len(schema) == 2 and schema[0] == "null"


def _mapped(schema: dict[str, Any], inner: Callable[[Schema], Schema]) -> dict[str, Any]:
    """The schema with `inner` applied to the types directly within it."""
    made = dict(schema)
    if "fields" in made:
        made["fields"] = [{**field, "type": inner(field["type"])} for field in made["fields"]]
    if "items" in made:
        made["items"] = inner(made["items"])
    return made


def compose(schema: Schema, named: Mapping[str, Schema], seen: set[str] | None = None) -> Schema:
    """The schema with every definition of `named` that it needs, each where it first occurs."""
    seen = set() if seen is None else seen
    if isinstance(schema, list):
        return [compose(branch, named, seen) for branch in schema]
    if isinstance(schema, str):
        if schema not in named or schema in seen:
            return schema
        schema = named[schema]
    if schema["type"] in ("record", "enum", "fixed"):
        if full_name(schema) in seen:
            return full_name(schema)
        seen.add(full_name(schema))
    return _mapped(schema, lambda inner: compose(inner, named, seen))


def canonical(schema: Schema) -> str:
    """Avro's parsing canonical form: what a reader needs to decode, and nothing else."""
    form: str = to_parsing_canonical_form(schema)
    return form


def fingerprint(schema: Schema) -> bytes:
    """CRC-64-AVRO of the canonical form, little-endian, as single-object encoding carries it."""
    return bytes.fromhex(fastavro_fingerprint(canonical(schema), "CRC-64-AVRO"))
