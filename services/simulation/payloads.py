"""Payloads of the simulated clinic: plain functions from what differs to the full fields of an event type.

Every field is there, also those that are null, so that an event equals its decoded self. Codes are shared dicts.
"""

from __future__ import annotations

from typing import Any

from events.envelope import EventId, Payload
from services.simulation.codes import Coding, Drug, Measure, Vaccine

IDR = "IDR"
Fields = dict[str, Any]


def quantity(value: str, unit: str) -> Fields:
    return {"value": value, "unit": unit, "code": None, "comparator": None}


def encounter(
    record_id: str,
    status: str,
    complaint: str | None,
    started_at: int,
    ended_at: int | None,
    practitioner: str,
    location: str,
    corrects: EventId | None = None,
) -> Payload:
    return (
        "id.rekam.care.EncounterRecorded",
        {
            "record_id": record_id,
            "status": status,
            "encounter_class": "AMB",
            "code": None,
            "text": None,
            "complaint": None,
            "complaint_text": complaint,
            "started_at": started_at,
            "ended_at": ended_at,
            "practitioner": practitioner,
            "location": location,
            "organisation": None,
            "discharge": None,
            "corrects": corrects,
            "reason": None,
            "origin": None,
        },
    )


def observation(
    record_id: str,
    encounter_id: str,
    measure: Measure,
    value: str,
    practitioner: str,
    corrects: EventId | None = None,
    reason: str | None = None,
) -> Payload:
    return (
        "id.rekam.care.ObservationRecorded",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "status": "final" if corrects is None else "corrected",
            "category": "vital-signs",
            "code": measure.code,
            "text": None,
            "quantity": {"value": value, "unit": measure.unit, "code": None, "comparator": None},
            "coded": None,
            "value_text": None,
            "interpretation": None,
            "components": [],
            "practitioner": practitioner,
            "corrects": corrects,
            "reason": reason,
            "origin": None,
        },
    )


def diagnosis(record_id: str, encounter_id: str, code: Coding, rank: str, practitioner: str) -> Payload:
    return (
        "id.rekam.care.DiagnosisRecorded",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "status": "active",
            "verification": "confirmed",
            "category": "encounter-diagnosis",
            "rank": rank,
            "code": code,
            "text": None,
            "onset": None,
            "abatement": None,
            "severity": None,
            "practitioner": practitioner,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def allergy(record_id: str, encounter_id: str, text: str, category: str, practitioner: str) -> Payload:
    return (
        "id.rekam.care.AllergyRecorded",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "status": "active",
            "verification": "unconfirmed",
            "kind": "allergy",
            "categories": [category],
            "criticality": "low",
            "code": None,
            "text": text,
            "onset": None,
            "reactions": [],
            "practitioner": practitioner,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def procedure(record_id: str, encounter_id: str, code: Coding, at: int, practitioner: str) -> Payload:
    return (
        "id.rekam.care.ProcedureRecorded",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "status": "completed",
            "code": code,
            "text": None,
            "started_at": at,
            "ended_at": at + 900_000_000,
            "indication": None,
            "outcome": None,
            "practitioner": practitioner,
            "location": None,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def prescription(
    record_id: str, encounter_id: str, drug: Drug, indication: Coding | None, practitioner: str
) -> Payload:
    return (
        "id.rekam.care.MedicationPrescribed",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "status": "active",
            "code": drug.code,
            "text": None,
            "dosage": drug.dosage,
            "dose": None,
            "route": None,
            "quantity": quantity(drug.quantity, drug.unit),
            "days": None,
            "indication": indication,
            "practitioner": practitioner,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def administration(
    record_id: str, encounter_id: str, prescription_id: str, drug: Drug, practitioner: str
) -> Payload:
    return (
        "id.rekam.care.MedicationAdministered",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "prescription_id": prescription_id,
            "status": "completed",
            "code": drug.code,
            "text": None,
            "dose": quantity("1", drug.unit),
            "route": None,
            "ended_at": None,
            "indication": None,
            "practitioner": practitioner,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def immunisation(record_id: str, encounter_id: str, vaccine: Vaccine, lot: str, practitioner: str) -> Payload:
    return (
        "id.rekam.care.ImmunisationGiven",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "status": "completed",
            "code": vaccine.code,
            "text": None,
            "lot_number": lot,
            "expires_on": None,
            "dose_number": None,
            "dose": quantity(vaccine.dose, "mL"),
            "site": vaccine.site,
            "route": vaccine.route,
            "manufacturer": None,
            "practitioner": practitioner,
            "location": None,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def note(record_id: str, encounter_id: str, text: str, practitioner: str) -> Payload:
    return (
        "id.rekam.care.NoteWritten",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "kind": "soap",
            "title": None,
            "text": text,
            "practitioner": practitioner,
            "origin": None,
        },
    )


def note_amended(record_id: str, text: str, practitioner: str, corrects: EventId) -> Payload:
    return (
        "id.rekam.care.NoteAmended",
        {
            "record_id": record_id,
            "title": None,
            "text": text,
            "practitioner": practitioner,
            "corrects": corrects,
            "reason": "Tambahan anamnesis",
            "origin": None,
        },
    )


def entered_in_error(kind: str, record_id: str, target: EventId, reason: str) -> Payload:
    fields = {"kind": kind, "record_id": record_id, "target": target, "reason": reason}
    return "id.rekam.care.EnteredInError", fields


def laboratory_order(record_id: str, encounter_id: str, test: Coding, practitioner: str) -> Payload:
    return (
        "id.rekam.laboratory.LaboratoryOrdered",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "status": "active",
            "priority": "routine",
            "tests": [test],
            "text": None,
            "practitioner": practitioner,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def specimen(record_id: str, order_id: str, practitioner: str) -> Payload:
    return (
        "id.rekam.laboratory.SpecimenCollected",
        {
            "record_id": record_id,
            "order_id": order_id,
            "status": "available",
            "code": None,
            "text": "Darah vena",
            "container": "EDTA",
            "practitioner": practitioner,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def result_fields(
    record_id: str,
    encounter_id: str,
    order_id: str,
    specimen_id: str,
    measure: Measure,
    value: str,
    interpretation: str,
    practitioner: str,
) -> Fields:
    return {
        "record_id": record_id,
        "encounter_id": encounter_id,
        "order_id": order_id,
        "specimen_id": specimen_id,
        "status": "final",
        "code": measure.code,
        "text": None,
        "quantity": quantity(value, measure.unit),
        "coded": None,
        "value_text": None,
        "range_low": measure.low,
        "range_high": measure.high,
        "range_text": None,
        "interpretation": interpretation,
        "components": [],
        "practitioner": practitioner,
        "origin": None,
    }


def result(fields: Fields) -> Payload:
    return "id.rekam.laboratory.LaboratoryResulted", fields


def result_corrected(fields: Fields, value: str, corrects: EventId) -> Payload:
    return (
        "id.rekam.laboratory.LaboratoryResultCorrected",
        {
            **fields,
            "status": "corrected",
            "quantity": {**fields["quantity"], "value": value},
            "corrects": corrects,
            "reason": "Pemeriksaan ulang",
        },
    )


def report(
    record_id: str, encounter_id: str, order_id: str, code: Coding, results: list[str], at: int, by: str
) -> Payload:
    return (
        "id.rekam.laboratory.LaboratoryReported",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "order_id": order_id,
            "status": "final",
            "category": "LAB",
            "code": code,
            "text": None,
            "results": results,
            "conclusion": None,
            "issued_at": at,
            "practitioner": by,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )
