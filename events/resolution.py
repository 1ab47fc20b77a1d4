"""Avro's schema resolution for values that were read with an older schema: what makes them values of the current.

A released schema is never edited, so a type can only grow by optional fields, wider enums and wider numbers (which
resolve here, by Avro's own rules), or get a successor under a new name (which needs an upcast, `events.upcasts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from events.avro_schema import Schema, compose, full_name, may_be_absent

Resolve: TypeAlias = Callable[[Any], Any]
Names: TypeAlias = Mapping[str, Schema]

_PROMOTIONS = {("int", "long")}


def _definition(schema: Schema, names: Names) -> Schema:
    return names.get(schema, schema) if isinstance(schema, str) else schema


def _kind(schema: Schema) -> str:
    if isinstance(schema, list):
        return "union"
    return str(schema if isinstance(schema, str) else schema["type"])


def obstacles(old: Schema, old_names: Names, new: Schema, new_names: Names, where: str) -> Iterator[str]:
    """Why values of `old` cannot be read as `new`; nothing if they can."""
    old, new = _definition(old, old_names), _definition(new, new_names)
    if may_be_absent(new):
        inner = old[1] if may_be_absent(old) else old
        yield from obstacles(inner, old_names, new[1], new_names, where)
        return
    was, now = _kind(old), _kind(new)
    if was != now and (was, now) not in _PROMOTIONS:
        yield f"{where} was {was} and is {now}"
    elif now == "record":
        yield from _record_obstacles(old, old_names, new, new_names, where)
    elif now == "array":
        yield from obstacles(old["items"], old_names, new["items"], new_names, f"{where}[]")
    elif now == "fixed" and old["size"] != new["size"]:
        yield f"{where} was {old['size']} bytes and is {new['size']}"
    elif now == "enum" and "default" not in new:
        for symbol in sorted(set(old["symbols"]) - set(new["symbols"])):
            yield f"{where} lost its symbol {symbol}"
    if now in ("record", "enum", "fixed") and was == now and full_name(old) != full_name(new):
        yield f"{where} was a {full_name(old)} and is a {full_name(new)}"


def _record_obstacles(
    old: Schema, old_names: Names, new: Schema, new_names: Names, where: str
) -> Iterator[str]:
    before = {field["name"]: field["type"] for field in old["fields"]}
    for field in new["fields"]:
        name = field["name"]
        if name in before:
            yield from obstacles(before[name], old_names, field["type"], new_names, f"{where}.{name}")
        elif "default" not in field:
            yield f"{where}.{name} is new and has no default"


def resolver(old: Schema, old_names: Names, new: Schema, new_names: Names) -> Resolve | None:
    """A function from values of `old` to values of `new`; None where they are the same values."""
    old, new = _definition(old, old_names), _definition(new, new_names)
    if _same(old, old_names, new, new_names):
        return None
    if may_be_absent(new):
        inner = resolver(old[1] if may_be_absent(old) else old, old_names, new[1], new_names)
        return inner and (lambda value: None if value is None else inner(value))
    match _kind(new):
        case "record":
            return _record_resolver(old, old_names, new, new_names)
        case "array":
            item = resolver(old["items"], old_names, new["items"], new_names)
            return item and (lambda values: [item(value) for value in values])
        case "enum":
            symbols, default = set(new["symbols"]), new.get("default")
            return lambda value: value if value in symbols else default
    return None


def _record_resolver(old: Schema, old_names: Names, new: Schema, new_names: Names) -> Resolve:
    before = {field["name"]: field["type"] for field in old["fields"]}
    resolvers = {
        field["name"]: resolver(before[field["name"]], old_names, field["type"], new_names)
        for field in new["fields"]
        if field["name"] in before
    }
    defaults = {field["name"]: field.get("default") for field in new["fields"]}

    def resolve(value: dict[str, Any]) -> dict[str, Any]:
        made = {}
        for name, default in defaults.items():
            if name in resolvers:
                inner = resolvers[name]
                made[name] = value[name] if inner is None else inner(value[name])
            else:
                made[name] = list(default) if isinstance(default, list) else default
        return made

    return resolve


def _same(old: Schema, old_names: Names, new: Schema, new_names: Names) -> bool:
    return bool(bare(compose(old, old_names)) == bare(compose(new, new_names)))


def bare(schema: Schema) -> Schema:
    """The schema without its docs: what decides which bytes are its values, and what they mean."""
    if isinstance(schema, list):
        return [bare(branch) for branch in schema]
    if isinstance(schema, str):
        return schema
    made = {key: value for key, value in schema.items() if key != "doc"}
    if "fields" in made:
        made["fields"] = [
            {**{k: v for k, v in field.items() if k != "doc"}, "type": bare(field["type"])}
            for field in made["fields"]
        ]
    if "items" in made:
        made["items"] = bare(made["items"])
    return made
