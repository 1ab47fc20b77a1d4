"""Gives a patient's record back as FHIR resources.

- An imported resource comes back as it was received, byte for byte but for line ends, in its last applied content.
- What was recorded or changed here is built (`building`). A record that was entered in error says so, whatever its
  original said; a change of contacts or a merge shows on the patient, whose other members stay as received.
- Pure: from the applied events of one stream, as of whatever moment they were taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import zstandard

from events.attachments import Kept
from events.blobs import DOCUMENT_ATTACHED, BlobMissing
from events.codec import decode_event
from events.envelope import Event
from events.errors import Corrupt
from events.rules import Verdict
from events.sealing import Reveal
from services.fhir.building import BUILDERS, KIND_TYPES, build
from services.fhir.building.people import related
from services.fhir.building.shape import About, Built, clean, code_in, telecoms
from services.fhir.documents import Read, put_back
from services.fhir.elements import Fields
from services.fhir.exact_json import parse, write
from services.fhir.reading import MAX_RESOURCE_BYTES
from services.fhir.references import CLINIC_TYPES, clinic_record_id

ERROR = "entered-in-error"
PATIENT = ("Patient", "")
"""A stream has one patient, whatever their ids."""
_VERIFICATION = {"Condition": "condition-ver-status", "AllergyIntolerance": "allergyintolerance-verification"}
_VOIDS = {"billing.ChargeVoided": "ChargeItem", "billing.PaymentVoided": "PaymentReconciliation"}

Key = tuple[str, str]
"""(resource type, record id)"""


class Exported(NamedTuple):
    """One resource; `text` is one line of JSON."""

    resource_type: str
    resource_id: str
    text: bytes

    @property
    def resource(self) -> dict[str, Any]:
        """Numbers are exact (Decimal)."""
        found: dict[str, Any] = parse(self.text.decode())
        return found


class JournalEntry(Protocol):
    """What an export needs of a journal row."""

    @property
    def verdict(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def value(self) -> bytes: ...


class Journals(Protocol):
    """`projections.store.Tables` gives it."""

    @property
    def reveal(self) -> Reveal: ...

    def journal(self, stream: str) -> Sequence[JournalEntry]: ...


def export_fhir(tables: Journals, stream: str, read: Read | None = None) -> Iterator[Exported]:
    """Every resource of a stream, the patient first, then in the order in which they came.

    `read`: gives the files that are kept outside of events (`Attachments.read`, of this stream). Raises what it raises,
    and BlobMissing where there is a file and no `read`.
    """
    applied = [row for row in tables.journal(stream) if row.verdict == Verdict.APPLIED.value]
    applied.sort(key=lambda row: row.version)
    return export_events((tables.reveal(decode_event(row.value)) for row in applied), read)


def export_events(events: Iterable[Event], read: Read | None = None) -> Iterator[Exported]:
    """Every resource that these applied events of one stream, in order, leave."""
    records: dict[Key, _Record] = {}
    stream, changes = "", _PatientChanges()
    for event in events:
        stream = event.stream
        _fold(event, records, changes)
    patient = records.get(PATIENT)
    patient_id = patient.origin["resource_id"] if patient and patient.origin else stream
    for key in sorted(records, key=lambda key: key != PATIENT):  # sorting is stable
        exported = _export(key, records[key], changes, patient_id, read or _no_files)
        if exported is not None:
            yield exported


@dataclass
class _Record:
    """The last that was said of one record."""

    event: Event
    origin: Fields | None
    """Of the last content, or of the one before if that was recorded here."""
    received: bool
    """Whether the last content is the resource as received."""
    voided: bool = False
    amended: Fields | None = None


@dataclass
class _PatientChanges:
    """What was said of the patient since their last full content."""

    contacts: list[Fields] | None = None
    survivor: str | None = None


def _fold(event: Event, records: dict[Key, _Record], changes: _PatientChanges) -> None:
    name, fields = event.type, event.payload[1]
    key = _key(name, fields)
    if key is not None:
        before = records.get(key)
        origin = fields.get("origin")
        known = origin or (before.origin if before else None)
        records[key] = _Record(event, known, received=origin is not None)
        if key == PATIENT:
            changes.contacts = None
    elif name == "registration.ContactsChanged":
        changes.contacts = fields["contacts"]
    elif name == "registration.PatientMerged":
        changes.survivor = fields["survivor"]
    elif name == "registration.PatientUnmerged":
        changes.survivor = None
    elif name == "care.NoteAmended":
        if note := records.get(("DocumentReference", fields["record_id"])):
            note.amended = fields
    elif void := _voided_key(name, fields):
        for held in void:
            if record := records.get(held):
                record.voided = True


def _key(name: str, fields: Fields) -> Key | None:
    """The record that an event gives its full content."""
    if name == "source.ResourceKept":
        origin = fields["origin"]
        kind, identity = origin["resource_type"], origin["resource_id"]
        if kind == PATIENT[0]:
            return PATIENT
        return kind, clinic_record_id(origin["source"], identity) if kind in CLINIC_TYPES else identity
    if name not in BUILDERS:
        return None
    kind = BUILDERS[name][0]
    return PATIENT if kind == PATIENT[0] else (kind, fields["record_id"])


def _voided_key(name: str, fields: Fields) -> list[Key]:
    if name == "care.EnteredInError":
        return [(KIND_TYPES[fields["kind"]], fields["record_id"])] if fields["kind"] in KIND_TYPES else []
    return [(_VOIDS[name], fields["record_id"])] if name in _VOIDS else []


def _no_files(kept: Kept) -> bytes:
    raise BlobMissing(
        f"the attachment {kept.blob_sha256.hex()} is kept elsewhere", "export where the clinic's files are"
    )


def _export(
    key: Key, record: _Record, changes: _PatientChanges, patient_id: str, read: Read
) -> Exported | None:
    kind = key[0]
    changed = key == PATIENT and (changes.contacts is not None or changes.survivor is not None)
    origin = record.origin
    if record.received and origin is not None and not (record.voided or changed):
        text = (
            received_text(origin, read).replace(b"\r", b" ").replace(b"\n", b" ")
        )  # white space: texts have \\n
        return Exported(origin["resource_type"], origin["resource_id"], text)
    resource = _resource(record, patient_id, read)
    if resource is None:
        return None
    if record.voided:
        resource = _void(kind, resource)
    if changed:
        resource = _changed(resource, changes)
    return Exported(kind, str(resource.get("id", "")), write(resource).encode())


def _resource(record: _Record, patient_id: str, read: Read) -> Built | None:
    if record.received and record.origin is not None:
        received: Built = parse(received_text(record.origin, read).decode())
        return received
    name, fields = record.event.payload
    if record.amended is not None:
        fields = {
            **fields,
            "text": record.amended["text"],
            "title": record.amended["title"] or fields["title"],
        }
    if name == DOCUMENT_ATTACHED and fields["blob_sha256"] is not None:
        fields = {
            **fields,
            "file": read(Kept(fields["blob_sha256"], fields["content_sha256"], fields["size_bytes"])),
        }
    return build((name, fields), About(patient_id, record.event.occurred_at))


def _void(kind: str, resource: Built) -> Built:
    """As FHIR marks it: conditions and allergies by their verification, all else by its status."""
    if kind in _VERIFICATION:
        system = f"http://terminology.hl7.org/CodeSystem/{_VERIFICATION[kind]}"
        rest = {name: value for name, value in resource.items() if name != "clinicalStatus"}
        return {**rest, "verificationStatus": code_in(system, ERROR)}
    return {**resource, "status": "cancelled" if kind == "PaymentReconciliation" else ERROR}


def _changed(patient: Built, changes: _PatientChanges) -> Built:
    if changes.contacts is not None:
        patient = {name: value for name, value in patient.items() if name not in ("telecom", "contact")}
        patient |= clean(telecom=telecoms(changes.contacts), contact=related(changes.contacts))
    if changes.survivor is not None:
        other = {"reference": f"Patient/{changes.survivor}"}
        patient = {**patient, "active": False, "link": [{"other": other, "type": "replaced-by"}]}
    return patient


def received_text(origin: Fields, read: Read) -> bytes:
    """The resource as received, its files in their places. Raises Corrupt, and as `read`."""
    return put_back(original_text(origin), origin["files"], read)


def original_text(origin: Fields) -> bytes:
    """The resource as its event keeps it. Raises Corrupt where it cannot be unpacked."""
    data = origin["original"]
    where = f"the original of a {origin['resource_type']}"
    try:
        if zstandard.frame_content_size(data) > MAX_RESOURCE_BYTES:
            raise Corrupt(f"{where} claims to be larger than {MAX_RESOURCE_BYTES} bytes")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_RESOURCE_BYTES)
    except zstandard.ZstdError as error:
        raise Corrupt(f"{where} cannot be unpacked: {error}", "verify the archive") from None
