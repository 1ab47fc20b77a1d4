"""Encounter, Condition, AllergyIntolerance, Procedure, medication, Immunization and documents -> the care family."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from services.fhir import elements
from services.fhir.documents import File, file_of
from services.fhir.elements import Fields, each, first, member, text
from services.fhir.mapping.shape import Mapped, Resource
from services.fhir.references import Naming

UNKNOWN = "unknown"
"""FHIR's own code for a status that is not known."""


def encounter(resource: Resource, naming: Naming) -> Mapped:
    started, ended = elements.period(resource.get("period"))
    complaint = first(resource, "reasonCode")
    fields = {
        "record_id": resource["id"],
        "status": text(resource, "status") or UNKNOWN,
        "encounter_class": text(resource.get("class"), "code") or UNKNOWN,
        **elements.coded(first(resource, "type")),
        "complaint": elements.coding(complaint),
        "complaint_text": elements.words(complaint),
        "started_at": started,
        "ended_at": ended,
        "practitioner": naming.first(
            (p.get("individual") for p in each(resource, "participant")), "Practitioner"
        ),
        "location": naming.first((place.get("location") for place in each(resource, "location")), "Location"),
        "organisation": naming.name(resource.get("serviceProvider"), "Organization"),
        "discharge": elements.coding(member(resource, "hospitalization").get("dischargeDisposition")),
    }
    return Mapped("care.EncounterRecorded", fields, started if started is not None else ended)


def condition(resource: Resource, naming: Naming) -> Mapped:
    fields = {
        **_of_encounter(resource, naming),
        "status": elements.code(resource.get("clinicalStatus")) or UNKNOWN,
        "verification": elements.code(resource.get("verificationStatus")),
        "category": elements.code(first(resource, "category")),
        "rank": None,
        **elements.coded(resource.get("code")),
        "onset": elements.when(resource, "onset"),
        "abatement": elements.when(resource, "abatement"),
        "severity": elements.code(resource.get("severity")),
        "practitioner": naming.first((resource.get("asserter"), resource.get("recorder")), "Practitioner"),
    }
    return Mapped("care.DiagnosisRecorded", fields, _recorded(resource))


def allergy(resource: Resource, naming: Naming) -> Mapped:
    fields = {
        **_of_encounter(resource, naming),
        "status": elements.code(resource.get("clinicalStatus")) or UNKNOWN,
        "verification": elements.code(resource.get("verificationStatus")),
        "kind": text(resource, "type"),
        "categories": elements.texts(resource, "category"),
        "criticality": text(resource, "criticality"),
        **elements.coded(resource.get("code")),
        "onset": elements.when(resource, "onset"),
        "reactions": [
            {**elements.coded(shown), "severity": text(reaction, "severity")}
            for reaction in each(resource, "reaction")
            for shown in each(reaction, "manifestation")
        ],
        "practitioner": naming.first((resource.get("asserter"), resource.get("recorder")), "Practitioner"),
    }
    return Mapped("care.AllergyRecorded", fields, _recorded(resource))


def _recorded(resource: Resource) -> int | None:
    return elements.earliest_named(resource, "recordedDate", "onsetDateTime", "onsetPeriod")


def procedure(resource: Resource, naming: Naming) -> Mapped:
    started, ended = elements.span(resource, "performed")
    fields = {
        **_of_encounter(resource, naming),
        "status": text(resource, "status") or UNKNOWN,
        **elements.coded(resource.get("code")),
        "started_at": started,
        "ended_at": ended,
        "indication": elements.coding(first(resource, "reasonCode")),
        "outcome": _said(resource.get("outcome")),
        "practitioner": naming.first((p.get("actor") for p in each(resource, "performer")), "Practitioner"),
        "location": naming.name(resource.get("location"), "Location"),
    }
    return Mapped("care.ProcedureRecorded", fields, started if started is not None else ended)


def medication_request(resource: Resource, naming: Naming) -> Mapped:
    dosage = first(resource, "dosageInstruction")
    supply = member(resource, "dispenseRequest")
    fields = {
        **_of_encounter(resource, naming),
        "status": text(resource, "status") or UNKNOWN,
        **_medication(resource, naming),
        "dosage": text(dosage, "text") or text(dosage, "patientInstruction"),
        "dose": elements.quantity(first(dosage, "doseAndRate").get("doseQuantity")),
        "route": elements.coding(dosage.get("route")),
        "quantity": elements.quantity(supply.get("quantity")),
        "days": _days(supply.get("expectedSupplyDuration")),
        "indication": elements.coding(first(resource, "reasonCode")),
        "practitioner": naming.name(resource.get("requester"), "Practitioner"),
    }
    return Mapped("care.MedicationPrescribed", fields, elements.earliest_named(resource, "authoredOn"))


MAX_DAYS = 36500


def _days(duration: object) -> int | None:
    held = elements.quantity(duration)
    if held is None or held["code"] != "d" or not held["value"].isdigit():
        return None
    days = int(held["value"])
    return days if days <= MAX_DAYS else None


def medication_administration(resource: Resource, naming: Naming) -> Mapped:
    started, ended = elements.span(resource, "effective")
    dosage = member(resource, "dosage")
    fields = {
        "record_id": resource["id"],
        "encounter_id": naming.name(resource.get("context"), "Encounter"),
        "prescription_id": naming.name(resource.get("request"), "MedicationRequest"),
        "status": text(resource, "status") or UNKNOWN,
        **_medication(resource, naming),
        "dose": elements.quantity(dosage.get("dose")),
        "route": elements.coding(dosage.get("route")),
        "ended_at": ended,
        "indication": elements.coding(first(resource, "reasonCode")),
        "practitioner": naming.first((p.get("actor") for p in each(resource, "performer")), "Practitioner"),
    }
    return Mapped("care.MedicationAdministered", fields, started if started is not None else ended)


def _medication(resource: Resource, naming: Naming) -> Fields:
    """As coded; a Medication resource elsewhere is named by its reference, which is all that is known here."""
    if "medicationCodeableConcept" in resource:
        return elements.coded(resource["medicationCodeableConcept"])
    reference = resource.get("medicationReference")
    if inside := naming.inside(reference):
        return elements.coded(inside.get("code"))
    name = naming.name(reference, "Medication")
    return {"code": None, "text": text(reference, "display") or (f"Medication/{name}" if name else None)}


def immunization(resource: Resource, naming: Naming) -> Mapped:
    protocol = first(resource, "protocolApplied")
    number = protocol.get("doseNumberPositiveInt")
    fields = {
        **_of_encounter(resource, naming),
        "status": text(resource, "status") or UNKNOWN,
        **elements.coded(resource.get("vaccineCode")),
        "lot_number": text(resource, "lotNumber"),
        "expires_on": elements.date(resource, "expirationDate"),
        "dose_number": elements.number(number) or text(protocol, "doseNumberString"),
        "dose": elements.quantity(resource.get("doseQuantity")),
        "site": elements.coding(resource.get("site")),
        "route": elements.coding(resource.get("route")),
        "manufacturer": text(resource.get("manufacturer"), "display"),
        "practitioner": naming.first((p.get("actor") for p in each(resource, "performer")), "Practitioner"),
        "location": naming.name(resource.get("location"), "Location"),
    }
    when = elements.earliest_named(resource, "occurrenceDateTime", "recorded")
    return Mapped("care.ImmunisationGiven", fields, when)


def document_reference(resource: Resource, naming: Naming) -> Mapped | None:
    """With the file that it holds itself; one that only points elsewhere is kept whole."""
    found = file_of(resource)
    if found is None:
        return None
    attachment, file = found
    context = member(resource, "context")
    fields = {
        "record_id": resource["id"],
        "encounter_id": naming.first(each(context, "encounter"), "Encounter"),
        "status": text(resource, "status") or UNKNOWN,
        **elements.coded(resource.get("type")),
        "title": text(attachment, "title") or text(resource, "description"),
        **_file(attachment, file),
        "practitioner": naming.first(each(resource, "author"), "Practitioner"),
    }
    when = elements.earliest_named(resource, "date")
    return Mapped("care.DocumentAttached", fields, when or elements.earliest_named(attachment, "creation"))


def binary(resource: Resource, naming: Naming) -> Mapped | None:
    """A file by itself, of whom it or a document beside it says so. Named so that it meets no document's id."""
    found = file_of(resource)
    if found is None:
        return None
    fields = {
        "record_id": f"Binary/{resource['id']}",
        "encounter_id": None,
        "status": "current",
        "code": None,
        "text": "Binary",
        "title": None,
        **_file(*found),
        "practitioner": None,
    }
    return Mapped("care.DocumentAttached", fields, None)


def _file(attachment: Mapping[str, Any], file: File) -> Fields:
    kind = (text(attachment, "contentType") or "application/octet-stream").partition(";")[0].strip().lower()
    return {
        "media_type": kind,
        "size_bytes": len(file.content),
        "content_sha256": hashlib.sha256(file.content).digest(),
    }


def _of_encounter(resource: Resource, naming: Naming) -> Fields:
    return {
        "record_id": resource["id"],
        "encounter_id": naming.name(resource.get("encounter"), "Encounter"),
    }


def _said(concept: object) -> str | None:
    held = elements.coding(concept)
    return text(concept, "text") or (held["display"] or held["code"] if held else None)
