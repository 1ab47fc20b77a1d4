"""One resource on its way to becoming an event: whose stream it belongs to, what it says, what event that makes.

Pure. An event's id derives from source, type, id, content, the resource's previous event and the epoch, so whoever
decides the same thing twice (a run that was killed and begun again, two runs at once) makes the same event, and a
change back to an earlier content is a new one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import zstandard
from pydantic import ValidationError

from events.envelope import Epoch, Event, EventId, Payload, derive_id
from events.payloads import MODELS
from events.rules import Head
from services.fhir.documents import Original, fields_of
from services.fhir.elements import Fields, earliest_named, member
from services.fhir.exact_json import content_digest
from services.fhir.mapping import MAPPINGS, map_resource
from services.fhir.reading import Found
from services.fhir.references import (
    CLINIC_TYPES,
    Naming,
    Reference,
    patient_of,
    patient_stream,
    read_reference,
    source_stream,
)

KEPT = "source.ResourceKept"
DOCUMENT = "care.DocumentAttached"
LEVEL = 3
"""zstd's level for originals; higher gains little on texts of a few kilobytes."""
CORRECTION = "imported again with other content"

Key = tuple[str, str, str, str]
"""(stream, source, resource type, resource id)"""


class Item(NamedTuple):
    """A resource, and where it belongs."""

    found: Found
    key: Key
    digest: bytes
    mappable: bool
    """Whether it may become more than a kept resource: its type is mapped and it has its place."""

    @property
    def stream(self) -> str:
        return self.key[0]


class Held(NamedTuple):
    """What the record holds of a resource: its last applied content and the event that brought it."""

    digest: bytes
    event_id: EventId
    mapped: bool


class Waiting(NamedTuple):
    """A resource whose patient is named by an identifier: who that is, is known once all patients are in.

    It waits even if somebody bears the identifier already: otherwise a second patient with the same one, later in
    the same files, would let importing them again place it elsewhere.
    """

    found: Found
    identifier: str
    """`system|value`"""
    digest: bytes


class Circumstances(NamedTuple):
    """What all events of one import share."""

    source: str
    actor: dict[str, str]
    epoch: Epoch | None
    correlation_id: bytes | None
    recorded_at: int
    """Microseconds UTC."""


def place(found: Found, source: str, clinic_stream: str) -> Item | Waiting:
    """Where a resource belongs, or that it waits for its patient to be known."""
    resource = found.resource
    kind = resource["resourceType"]
    digest = content_digest(resource)
    # Without an id there is only the content to know it by: the same again is the same, a change is another.
    identity = resource.get("id") or digest.hex()[:32]
    if "id" not in resource:
        found = found._replace(resource={**resource, "id": identity})
    patient = owner_of_binary(found) if kind == "Binary" else patient_of(resource, found.links)
    if kind == "Patient":
        stream = patient_stream(source, identity)
    elif kind in CLINIC_TYPES:
        stream = clinic_stream
    elif patient is None or patient.contained is not None:
        stream = source_stream(source)
    elif patient.id is not None:
        stream = patient_stream(source, patient.id)
    else:
        return Waiting(found, patient.identifier or "", digest)
    mappable = kind in MAPPINGS and stream != source_stream(source)
    return Item(found, (stream, source, kind, identity), digest, mappable)


def owner_of_binary(found: Found) -> Reference | None:
    """Whose file it is: as it says itself, or as a DocumentReference of its Bundle does; None where nobody says."""
    said = read_reference(found.resource.get("securityContext"), found.links)
    if said is None or said.type != "Patient":
        said = found.owners.get(f"Binary/{found.resource['id']}") if "id" in found.resource else None
    return said


def placed(waiting: Waiting, source: str, stream: str | None) -> Item:
    """With its patient, or kept with its source where nobody knows them (`stream` is None)."""
    resource = waiting.found.resource
    kind = resource["resourceType"]
    key = (stream or source_stream(source), source, kind, resource["id"])
    return Item(waiting.found, key, waiting.digest, stream is not None and kind in MAPPINGS)


class Decision(NamedTuple):
    """The event to append for an item."""

    item: Item
    event: Event
    mapped: bool


def decide(
    item: Item, head: Head, held: Held | None, now: Circumstances, original: Original | None = None
) -> Decision | None:
    """None where the record's last applied content of this resource is this very content.

    `original`: the resource as the event is to keep it, where files were taken out of it.
    """
    if held is not None and held.digest == item.digest:
        return None
    stream, source, kind, identity = item.key
    previous = held.event_id if held else None
    payload, occurred_at = _content(item, held, original or Original(item.found.text))
    event = Event(
        event_id=derive_id("fhir", source, kind, identity, item.digest, previous, now.epoch),
        epoch=now.epoch,
        stream=stream,
        version=head.version + 1,
        previous=head.last,
        occurred_at=now.recorded_at if occurred_at is None else occurred_at,
        recorded_at=now.recorded_at,
        actor=now.actor,
        correlation_id=now.correlation_id,
        causation_id=None,
        payload=payload,
    )
    return Decision(item, event, payload[0] != f"id.rekam.{KEPT}")


def _content(item: Item, held: Held | None, original: Original) -> tuple[Payload, int | None]:
    """The payload and the clinical time: mapped where that is possible, else the resource kept whole."""
    resource = item.found.resource
    origin = _origin(item, original)
    if item.mappable:
        mapped = map_resource(resource, Naming(item.key[1], resource, item.found.links))
        if mapped is not None:
            again = held is not None and held.mapped
            name = mapped.correction if again and mapped.correction else mapped.type
            corrects = again or mapped.correction is None
            fields = {**mapped.fields, "origin": origin, **(_corrects(held) if corrects else {})}
            if mapped.type == DOCUMENT:
                fields["blob_sha256"] = original.blob_of(fields["content_sha256"])
            payload = validated(name, fields)
            if payload is not None:
                return payload, _clinical_time(mapped.occurred_at, resource)
    kept = validated(KEPT, {"origin": origin, **_corrects(held)})
    assert kept is not None, "what was read can be kept"
    return kept, _clinical_time(None, resource)


def _corrects(held: Held | None) -> Fields:
    return {"corrects": held.event_id, "reason": CORRECTION} if held else {"corrects": None, "reason": None}


def _clinical_time(found: int | None, resource: dict[str, Any]) -> int | None:
    return found if found is not None else earliest_named(member(resource, "meta"), "lastUpdated")


_compressor = zstandard.ZstdCompressor(level=LEVEL)


def _origin(item: Item, original: Original) -> Fields:
    _, source, kind, identity = item.key
    return {
        "source": source,
        "resource_type": kind,
        "resource_id": identity,
        "content_sha256": item.digest,
        "original": _compressor.compress(original.text),
        "files": fields_of(original),
    }


def validated(name: str, fields: Fields) -> Payload | None:
    """The payload of this event type; None where the content breaks its rules."""
    try:
        return MODELS[f"id.rekam.{name}"](**fields).to_payload()
    except ValidationError:
        return None
