"""The pieces of FHIR resources, from our values. None and empty lists are left out: FHIR has no nulls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from services.fhir.elements import Fields
from services.fhir.references import NameParts, parts_of_name

Built: TypeAlias = dict[str, Any]

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class About(NamedTuple):
    """What a builder needs besides the payload."""

    patient_id: str
    occurred_at: int
    """Microseconds UTC."""


def clean(**members: Any) -> Built:
    """The members that say something. A trailing underscore is dropped (`class_`)."""
    return {name.rstrip("_"): value for name, value in members.items() if value not in (None, [], {})}


def instant(micros: int | None) -> str | None:
    if micros is None:
        return None
    return (_UNIX_EPOCH + timedelta(microseconds=micros)).isoformat()


def period(start: int | None, end: int | None) -> Built:
    return clean(start=instant(start), end=instant(end))


def decimal(text: str | None) -> Decimal | int | None:
    """The number with its precision: `5` is written 5, `5.0` is written 5.0."""
    if text is None:
        return None
    return Decimal(text) if "." in text else int(text)


def coding(held: Fields | None) -> Built:
    return clean(system=held["system"] or None, code=held["code"], display=held["display"]) if held else {}


def concept(held: Fields | None, words: str | None = None) -> Built:
    """A CodeableConcept of a Coding and words."""
    return clean(coding=[coding(held)] if held else None, text=words)


def coded(fields: Fields) -> Built:
    return concept(fields["code"], fields["text"])


def code_in(system: str, code: str | None) -> Built:
    """A CodeableConcept of one of FHIR's own codes."""
    return {"coding": [{"system": system, "code": code}]} if code else {}


def quantity(held: Fields | None) -> Built:
    if held is None:
        return {}
    ucum = "http://unitsofmeasure.org" if held["code"] else None
    return clean(
        value=decimal(held["value"]),
        comparator=held["comparator"],
        unit=held["unit"],
        system=ucum,
        code=held["code"],
    )


def money(amount: str | None, currency: str | None) -> Built:
    return clean(value=decimal(amount), currency=currency) if amount is not None else {}


def value(fields: Fields) -> Built:
    """value[x]: at most one of its forms."""
    return clean(
        valueQuantity=quantity(fields["quantity"]),
        valueCodeableConcept=concept(fields["coded"]),
        valueString=None if fields["quantity"] or fields["coded"] else fields["value_text"],
    )


def component(fields: Fields) -> Built:
    return {**clean(code=coded(fields)), **value(fields)}


def reference(kind: str, name: str | None) -> Built:
    """By id, or by `system|value` where only that is known."""
    if not name:
        return {}
    parts: NameParts = parts_of_name(name)
    if parts.identifier:
        system, _, number = parts.identifier.partition("|")
        return {"type": kind, "identifier": clean(system=system or None, value=number)}
    return {"reference": f"{kind}/{parts.id}"}


def references(kind: str, names: list[str]) -> list[Built]:
    return [reference(kind, name) for name in names]


def subject(about: About) -> Built:
    return {"reference": f"Patient/{about.patient_id}"}


def identifiers(held: list[Fields]) -> list[Built]:
    uses = ("usual", "official", "temp", "secondary", "old")
    return [
        clean(
            use=i["use"] if i["use"] in uses else None,
            type_=code_in("http://terminology.hl7.org/CodeSystem/v2-0203", i["use"])
            if i["use"] not in uses
            else {},
            system=i["system"],
            value=i["value"],
        )
        for i in held
    ]


def address(held: Fields | None) -> Built:
    if held is None:
        return {}
    region = held["region_code"]
    levels = {2: "province", 4: "city", 6: "district", 10: "village"}
    level = levels.get(len(region or ""), "village")
    codes = {
        "url": "https://fhir.kemkes.go.id/r4/StructureDefinition/administrativeCode",
        "extension": [{"url": level, "valueCode": region}],
    }
    return clean(
        extension=[codes] if region else None,
        line=[*held["lines"], *filter(None, [held["village"]])],
        city=held["city"],
        district=held["district"],
        state=held["province"],
        postalCode=held["postal_code"],
        country=held["country"],
    )


def telecoms(contacts: list[Fields]) -> list[Built]:
    """Those of the person, place or organisation itself."""
    return [telecom(c) for c in contacts if c["relationship"] == "self"]


def telecom(contact: Fields) -> Built:
    return clean(system=contact["system"], value=contact["value"], use=contact["use"])
