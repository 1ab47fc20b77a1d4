"""FHIR's data types as values of our payloads.

Every function takes whatever stood there and never raises: what is not as FHIR says gives None (or is left out), and
stays readable in the original that the event keeps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

from events.avro_schema import DECIMAL
from events.payload_fields import CODE_CHARACTERS, TEXT_CHARACTERS
from services.fhir.exact_json import write

Fields: TypeAlias = dict[str, Any]

MAX_DIGITS = 100
"""Looked at before a number is written out in full: `1e999999` would fill the memory."""

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _UNIX_EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _UNIX_EPOCH) // _MICROSECOND
_NONE: dict[str, Any] = {}


def member(value: object, name: str) -> Mapping[str, Any]:
    """The object under `name`; empty where there is none."""
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else _NONE


def each(value: object, name: str) -> list[dict[str, Any]]:
    """The objects of the list under `name`."""
    inner = value.get(name) if isinstance(value, dict) else None
    return [item for item in inner if isinstance(item, dict)] if isinstance(inner, list) else []


def first(value: object, name: str) -> Mapping[str, Any]:
    """The first object of the list under `name`; empty where there is none."""
    found = each(value, name)
    return found[0] if found else _NONE


def text(value: object, name: str) -> str | None:
    """The text under `name`; None where it is blank, no text, or longer than a field may be."""
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, str) and inner.strip() and len(inner) <= TEXT_CHARACTERS else None


def texts(value: object, name: str) -> list[str]:
    inner = value.get(name) if isinstance(value, dict) else None
    if not isinstance(inner, list):
        return []
    return [item for item in inner if isinstance(item, str) and 0 < len(item) <= TEXT_CHARACTERS]


_DATE = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?", re.ASCII)
_TIME = re.compile(r"T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.ASCII)


def date(value: object, name: str) -> str | None:
    """The date or dateTime under `name`, possibly partial, as given; None where it is not in FHIR's form."""
    said = text(value, name) or ""
    day = _DATE.match(said)
    if day is None or not (day.end() == len(said) or (day.end() == 10 and _TIME.fullmatch(said, 10))):
        return None
    return said


def moment(value: object) -> int | None:
    """Microseconds UTC of a FHIR date, dateTime or instant. A partial one means its beginning, in UTC."""
    if not isinstance(value, str):
        return None
    if len(value) in (4, 7):
        value = f"{value}-01-01"[:10]
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    micros = ((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)) - _UNIX_EPOCH) // _MICROSECOND
    return micros if _FIRST <= micros <= _LAST else None


def earliest_named(resource: Mapping[str, Any], *names: str) -> int | None:
    """The moment of the first of these members that holds one; of a Period its start, else its end."""
    for name in names:
        value = resource.get(name)
        candidates = (value.get("start"), value.get("end")) if isinstance(value, dict) else (value,)
        for candidate in candidates:
            if (found := moment(candidate)) is not None:
                return found
    return None


def number(value: object) -> str | None:
    """Plain decimal text with the precision given; None where it is no amount that an event can hold."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    decimal = Decimal(value)
    exponent = decimal.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > MAX_DIGITS or decimal.adjusted() > MAX_DIGITS:
        return None
    plain = f"{decimal:f}" if decimal else f"{abs(decimal):f}"  # zero has no sign
    return plain if DECIMAL.fullmatch(plain) else None


def coding(concept: object) -> Fields | None:
    """The first coding of a CodeableConcept that has a code."""
    for candidate in each(concept, "coding"):
        # FHIR allows no space in front, behind or twice in a code.
        code = " ".join((text(candidate, "code") or "").split())
        if 0 < len(code) <= CODE_CHARACTERS:
            return {
                "system": text(candidate, "system") or "",
                "code": code,
                "display": text(candidate, "display"),
            }
    return None


def code(concept: object) -> str | None:
    """The code alone, else the words."""
    found = coding(concept)
    return found["code"] if found else text(concept, "text")


def words(concept: object) -> str | None:
    """A CodeableConcept's text, where it says more than the coding that is kept beside it."""
    said = text(concept, "text")
    found = coding(concept)
    if said is None and found is None:
        return text(first(concept, "coding"), "display")
    return None if found and found["display"] == said else said


def coded(concept: object) -> Fields:
    """`code` and `text` of a record."""
    return {"code": coding(concept), "text": words(concept)}


def quantity(value: object) -> Fields | None:
    if not isinstance(value, dict) or (amount := number(value.get("value"))) is None:
        return None
    unit, ucum = text(value, "unit"), text(value, "code")
    return {"value": amount, "unit": unit or ucum, "code": ucum, "comparator": text(value, "comparator")}


_CURRENCY = re.compile(r"[A-Z]{3}")


def money(value: object) -> tuple[str | None, str | None]:
    """(decimal text, currency in ISO 4217)."""
    if not isinstance(value, dict):
        return None, None
    currency = text(value, "currency")
    return number(value.get("value")), currency if currency and _CURRENCY.fullmatch(currency) else None


def period(value: object) -> tuple[int | None, int | None]:
    """(start, end) in microseconds UTC."""
    if not isinstance(value, dict):
        return None, None
    return moment(value.get("start")), moment(value.get("end"))


def span(resource: Mapping[str, Any], stem: str) -> tuple[int | None, int | None]:
    """(start, end) of a choice `<stem>Period` or `<stem>DateTime`."""
    if isinstance(resource.get(f"{stem}Period"), dict):
        return period(resource[f"{stem}Period"])
    return moment(resource.get(f"{stem}DateTime")), None


def when(resource: Mapping[str, Any], stem: str) -> str | None:
    """A choice such as onset[x] as the text given: a date, a time, an age, words."""
    for kind in ("DateTime", "String"):
        if said := text(resource, stem + kind):
            return said
    for kind in ("Age", "Period", "Range"):
        if isinstance(held := resource.get(stem + kind), dict):
            return text({"written": write(held)}, "written")
    return None


def value_of(element: Mapping[str, Any]) -> Fields:
    """`quantity`, `coded` and `value_text` of a value[x]; at most one is not None."""
    found: Fields = {"quantity": None, "coded": None, "value_text": None}
    name = next((key for key in element if key.startswith("value") and key[5:6].isupper()), None)
    if name is None:
        return found
    value = element[name]
    if name == "valueQuantity":
        found["quantity"] = quantity(value)
    elif name == "valueCodeableConcept":
        found["coded"] = coding(value)
        found["value_text"] = None if found["coded"] else text(value, "text")
    elif isinstance(value, str):
        found["value_text"] = value
    if not any(found.values()) and not isinstance(value, str):
        found["value_text"] = write(value)
    if len(found["value_text"] or "") > TEXT_CHARACTERS:
        found["value_text"] = None
    return found


def component(element: Mapping[str, Any]) -> Fields:
    return {**coded(element.get("code")), **value_of(element)}


def identifiers(resource: Mapping[str, Any]) -> list[Fields]:
    return [
        {
            "system": text(held, "system"),
            "value": value,
            "use": code(held.get("type")) or text(held, "use"),
        }
        for held in each(resource, "identifier")
        if (value := text(held, "value"))
    ]


_REGION_CODES = "https://fhir.kemkes.go.id/r4/StructureDefinition/administrativeCode"


def address(value: Mapping[str, Any]) -> Fields | None:
    """With SatuSehat's administrative codes, of which the lowest is kept."""
    if not value:
        return None
    codes = extension(value, _REGION_CODES)
    region = next(
        (c for level in ("village", "district", "city", "province") if (c := _part(codes, level))), None
    )
    return {
        "lines": texts(value, "line"),
        "village": None,
        "district": text(value, "district"),
        "city": text(value, "city"),
        "province": text(value, "state"),
        "postal_code": text(value, "postalCode"),
        "country": text(value, "country"),
        "region_code": region if region and region.isascii() and region.isdigit() else None,
    }


def extension(value: object, url: str) -> Mapping[str, Any]:
    """The extension of this url; empty where there is none."""
    return next((held for held in each(value, "extension") if held.get("url") == url), _NONE)


def _part(codes: Mapping[str, Any], level: str) -> str | None:
    return text(extension(codes, level), "valueCode")


def contacts(resource: Mapping[str, Any]) -> list[Fields]:
    """The telecoms of a person, place or organisation."""
    return [
        _contact(f"telecom-{n}", "self", None, held) for n, held in enumerate(each(resource, "telecom"), 1)
    ]


def related(resource: Mapping[str, Any]) -> list[Fields]:
    """The people named as a patient's contacts, one for each way to reach them."""
    found = []
    for n, person in enumerate(each(resource, "contact"), 1):
        relationship = code(first(person, "relationship")) or "other"
        ways = each(person, "telecom") or [{}]
        name = full_name(member(person, "name"))
        found += [_contact(f"contact-{n}-{m}", relationship, name, way) for m, way in enumerate(ways, 1)]
    return found


def _contact(contact_id: str, relationship: str, name: str | None, telecom: Mapping[str, Any]) -> Fields:
    return {
        "contact_id": contact_id,
        "relationship": relationship,
        "name": name,
        "system": text(telecom, "system"),
        "value": text(telecom, "value"),
        "use": text(telecom, "use"),
    }


def official_name(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    """The name to go by: the official one, else the first."""
    names = each(resource, "name")
    return next((held for held in names if held.get("use") == "official"), names[0] if names else _NONE)


def full_name(name: Mapping[str, Any]) -> str | None:
    """As it is shown."""
    parts = [*texts(name, "prefix"), *texts(name, "given"), text(name, "family"), *texts(name, "suffix")]
    return text(name, "text") or " ".join(part for part in parts if part) or None


def sex(resource: Mapping[str, Any]) -> str:
    gender = text(resource, "gender")
    return gender if gender in ("male", "female", "other") else "unknown"
