"""Hypothesis strategies for values of the schemas: everything that they allow, and nothing else."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from events import catalogue
from events.avro_schema import FIRST_MICROS, INSTANTS, LAST_MICROS, may_be_absent
from events.envelope import Event

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80)
KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60)
DECIMALS = st.from_regex(r"-?[1-9][0-9]{0,8}(\.[0-9]{1,5})?", fullmatch=True) | st.sampled_from(
    ["0", "0.00", "12345678901234567890.10"]
)
FORMATS = {
    "key": KEYS,
    "decimal": DECIMALS,
    "code": st.from_regex(r"[!-~]{1,20}( [!-~]{1,5})?", fullmatch=True),
    "nik": st.from_regex(r"[0-9]{16}", fullmatch=True),
    "currency": st.sampled_from(["IDR", "USD"]),
    "date": st.sampled_from(["1980", "1980-02", "1980-02-29", "2015-02-07T13:28:17+07:00"]),
}
MICROS = st.integers(FIRST_MICROS, LAST_MICROS)
IDS = st.binary(min_size=16, max_size=16)


@cache
def values(schema_key: str) -> st.SearchStrategy[Any]:
    """Values of a named type."""
    return _of(catalogue.definitions()[schema_key], None)


def _of(schema: Any, form: str | None) -> st.SearchStrategy[Any]:
    if isinstance(schema, str):
        primitives = {
            "string": FORMATS[form] if form else TEXTS,
            "bytes": st.binary(max_size=100),
            "boolean": st.booleans(),
            "int": st.integers(-(2**31), 2**31 - 1),
            "long": st.integers(-(2**63), 2**63 - 1),
        }
        return primitives[schema] if schema in primitives else values(schema)
    if isinstance(schema, list):
        assert may_be_absent(schema)
        return st.none() | _of(schema[1], form)
    match schema["type"]:
        case "record":
            return st.fixed_dictionaries(
                {f["name"]: _of(f["type"], f.get("format")) for f in schema["fields"]}
            )
        case "enum":
            return st.sampled_from(schema["symbols"])
        case "fixed":
            return st.binary(min_size=schema["size"], max_size=schema["size"])
        case "array":
            return st.lists(_of(schema["items"], None), max_size=3)
    return st.integers(*INSTANTS[schema["logicalType"]])


def payloads(*types: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Payloads of some event types, or of all."""
    names = types or catalogue.event_types()
    return st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), values(name)))


def events(
    payload: st.SearchStrategy[Any] | None = None, stream: str | None = None
) -> st.SearchStrategy[Event]:
    """Whole events."""
    return st.builds(
        Event,
        event_id=IDS,
        epoch=st.none() | IDS,
        stream=KEYS if stream is None else st.just(stream),
        version=st.integers(-(2**63), 2**63 - 1) | st.integers(1, 1000),
        previous=st.none() | IDS,
        occurred_at=MICROS,
        recorded_at=MICROS,
        actor=values("id.rekam.Actor"),
        correlation_id=st.none() | IDS,
        causation_id=st.none() | IDS,
        payload=payloads() if payload is None else payload,
    )
