"""What a FHIR reference points at, and in whose stream a resource belongs.

A stream's name depends on the source and the id alone, never on what was read before: an AllergyIntolerance finds its
patient's stream although the Patient comes later. Forms of a reference:

| form | example | becomes |
|---|---|---|
| literal | `Patient/7`, `https://host/fhir/Patient/7/_history/2` | type and id |
| within a Bundle | `urn:uuid:…`, any fullUrl | type and id, through the Bundle's links |
| conditional | `Practitioner?identifier=system|value` | type and `system|value` |
| logical | only `identifier` is given | type and `system|value` |
| contained | `#med` | the resource inside |

`system|value` stays text in the event: the same resource gives the same event, whatever was imported before it.
Readers resolve it through the identifiers of practitioners, locations and organisations (`Directory`); a patient so
named is looked up when the import decides, since it decides the stream.

Records of the clinic's stream carry their source in their record_id (`source/id`), for two hospitals share that
stream; a patient's stream is of one source already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from events.avro_schema import KEY_BYTES
from events.envelope import stream_name
from services.fhir.bundles import URN

CLINIC_TYPES = frozenset({"Organization", "Practitioner", "Location"})
PATIENT_MEMBERS = ("subject", "patient", "beneficiary", "individual", "for")
"""Where resources name their patient."""

_LITERAL = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/([^/?#|\s]{1,256})(?:/_history/[^/?#]+)?$")
_CONDITIONAL = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)\?(.+)$")


class Reference(NamedTuple):
    """What is pointed at; `id`, `identifier` and `contained` exclude each other."""

    type: str | None
    id: str | None = None
    identifier: str | None = None
    """`system|value`"""
    contained: str | None = None


def read_reference(value: object, links: Mapping[str, str]) -> Reference | None:
    """The reference in a Reference element; None where there is none or it cannot be understood."""
    if not isinstance(value, dict):
        return None
    text, kind = value.get("reference"), value.get("type")
    kind = kind if isinstance(kind, str) else None
    if isinstance(text, str) and (found := _read_text(text, kind, links)):
        return found
    return _logical(value.get("identifier"), kind)


def _read_text(text: str, kind: str | None, links: Mapping[str, str]) -> Reference | None:
    text = links.get(text, text)
    if text.startswith("#"):
        return Reference(kind, contained=text[1:])
    if text.startswith(URN):
        return Reference(kind, id=text.removeprefix(URN)) if kind else None
    if literal := _LITERAL.search(text):
        return Reference(literal[1], id=literal[2])
    if conditional := _CONDITIONAL.search(text):
        for name, value in parse_qsl(conditional[2].replace("+", "%2B")):
            if name == "identifier":
                return Reference(conditional[1], identifier=value)
    return None


def _logical(identifier: object, kind: str | None) -> Reference | None:
    if not isinstance(identifier, dict) or not isinstance(identifier.get("value"), str):
        return None
    system = identifier.get("system")
    return Reference(kind, identifier=f"{system if isinstance(system, str) else ''}|{identifier['value']}")


def patient_of(resource: Mapping[str, Any], links: Mapping[str, str]) -> Reference | None:
    """The patient that a resource is about; None where it names none."""
    for member in PATIENT_MEMBERS:
        if member in resource:
            found = read_reference(resource[member], links)
            # A member `patient` can point at nothing else, so a type may be missing there.
            if found and (
                found.type == "Patient" or (found.type is None and member in ("patient", "beneficiary"))
            ):
                return found._replace(type="Patient")
    return None


@lru_cache(10_000)
def patient_stream(source: str, patient_id: str) -> str:
    return stream_name("patient", source, "Patient", patient_id)


@lru_cache(100)
def source_stream(source: str) -> str:
    """Where what has neither patient nor place in the clinic is kept."""
    return stream_name("source", source)


def clinic_record_id(source: str, resource_id: str) -> str:
    return f"{source}/{resource_id}"


class Naming:
    """How a resource of one source names other records: the text that goes into an event."""

    __slots__ = ("contained", "links", "source")

    def __init__(self, source: str, resource: Mapping[str, Any], links: Mapping[str, str]) -> None:
        self.source, self.links = source, links
        held = resource.get("contained")
        self.contained: dict[str, dict[str, Any]] = (
            {r["id"]: r for r in held if isinstance(r, dict) and isinstance(r.get("id"), str)}
            if isinstance(held, list)
            else {}
        )

    def read(self, value: object) -> Reference | None:
        return read_reference(value, self.links)

    def inside(self, value: object) -> dict[str, Any] | None:
        """The contained resource that is meant, if one is."""
        found = self.read(value)
        return self.contained.get(found.contained) if found and found.contained else None

    def name(self, value: object, *types: str) -> str | None:
        """The record_id, or `system|value`; None unless it is one of `types` (a logical one may have no type)."""
        found = self.read(value)
        if found is None or (found.type not in types and not (found.type is None and found.identifier)):
            return None
        name = found.id or found.identifier
        if found.id is not None and found.type in CLINIC_TYPES:
            name = clinic_record_id(self.source, found.id)
        # A longer one cannot name a record; it stays in the original.
        return name if name and len(name.encode()) <= KEY_BYTES else None

    def first(self, values: Iterable[object], *types: str) -> str | None:
        """The name of the first that is one of `types`."""
        return next((name for value in values if (name := self.name(value, *types))), None)


class Directory:
    """Resolves `system|value` to a record_id: what pages and exports show a conditional reference as."""

    def __init__(self, identifiers: Iterable[tuple[str, str | None, str]]) -> None:
        """`identifiers`: (record_id, system, value). A name that several records bear resolves to none."""
        self._records: dict[str, str | None] = {}
        for record_id, system, value in identifiers:
            name = f"{system or ''}|{value}"
            known = self._records.setdefault(name, record_id)
            if known != record_id:
                self._records[name] = None

    def resolve(self, name: str) -> str:
        """The record_id of a `system|value`, or the name as it is."""
        return self._records.get(name) or name


class NameParts(NamedTuple):
    """A record's name in an event, taken apart again."""

    id: str | None = None
    identifier: str | None = None


def parts_of_name(name: str) -> NameParts:
    """The inverse of `Naming.name`: an id (without its source), or `system|value`."""
    return NameParts(identifier=name) if "|" in name else NameParts(id=name.rpartition("/")[2])
