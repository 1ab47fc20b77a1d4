"""Payloads of billing, registration, the clinic, staff and access, for the simulated clinic: see `payloads`."""

from __future__ import annotations

from events.envelope import EventId, Payload
from services.simulation.payloads import IDR, Fields


def charge(
    record_id: str,
    encounter_id: str,
    text: str,
    amount: int,
    invoice: str | None,
    claim_id: str | None,
) -> Payload:
    return (
        "id.rekam.billing.ChargeRecorded",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "claim_id": claim_id,
            "invoice_number": invoice,
            "code": None,
            "text": text,
            "quantity": "1",
            "unit_amount": None,
            "amount": str(amount),
            "currency": IDR,
            "coverage_id": None if claim_id is None else "bpjs",
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def charge_voided(record_id: str, target: EventId) -> Payload:
    return (
        "id.rekam.billing.ChargeVoided",
        {"record_id": record_id, "target": target, "reason": "Salah tindakan"},
    )


def payment(
    record_id: str, encounter_id: str, amount: int, method: str, invoice: str, receipt: str
) -> Payload:
    return (
        "id.rekam.billing.PaymentReceived",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "claim_id": None,
            "invoice_number": invoice,
            "amount": str(amount),
            "currency": IDR,
            "method": method,
            "payer": None,
            "receipt_number": receipt,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def payment_voided(record_id: str, target: EventId) -> Payload:
    return (
        "id.rekam.billing.PaymentVoided",
        {"record_id": record_id, "target": target, "reason": "Salah nominal"},
    )


def claim(
    record_id: str,
    encounter_id: str,
    sep: str,
    group: str,
    diagnosis_ids: list[str],
    amount: int,
    practitioner: str,
) -> Payload:
    return (
        "id.rekam.billing.ClaimSubmitted",
        {
            "record_id": record_id,
            "encounter_id": encounter_id,
            "claim_number": None,
            "sep_number": sep,
            "group_code": group,
            "kind": "professional",
            "use": None,
            "payer": "BPJS Kesehatan",
            "coverage_id": "bpjs",
            "diagnosis_ids": diagnosis_ids,
            "procedure_ids": [],
            "items": [],
            "amount": str(amount),
            "currency": IDR,
            "started_at": None,
            "ended_at": None,
            "practitioner": practitioner,
            "organisation": None,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def adjudication(record_id: str, claim_id: str, asked: int, granted: int) -> Payload:
    return (
        "id.rekam.billing.ClaimAdjudicated",
        {
            "record_id": record_id,
            "claim_id": claim_id,
            "outcome": "complete" if granted == asked else "partial",
            "disposition": None if granted == asked else "Sebagian tidak sesuai tarif",
            "payer": "BPJS Kesehatan",
            "submitted_amount": str(asked),
            "approved_amount": str(granted),
            "patient_amount": "0",
            "paid_amount": None,
            "currency": IDR,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def claim_finalised(claim_id: str, paid: int) -> Payload:
    fields = {"record_id": claim_id, "paid_amount": str(paid), "currency": IDR, "note": None}
    return "id.rekam.billing.ClaimFinalised", fields


def claim_unfinalised(claim_id: str, target: EventId) -> Payload:
    fields = {"record_id": claim_id, "target": target, "reason": "Verifikasi ulang BPJS"}
    return "id.rekam.billing.ClaimUnfinalised", fields


def registered(fields: Fields) -> Payload:
    return "id.rekam.registration.PatientRegistered", fields


def corrected(fields: Fields, corrects: EventId, reason: str) -> Payload:
    return "id.rekam.registration.PatientCorrected", {**fields, "corrects": corrects, "reason": reason}


def contacts_changed(contacts: list[Fields]) -> Payload:
    return "id.rekam.registration.ContactsChanged", {"contacts": contacts, "reason": None}


def coverages_changed(coverages: list[Fields], reason: str) -> Payload:
    return "id.rekam.registration.CoverageChangedV2", {"coverages": coverages, "reason": reason}


def merged(survivor: str) -> Payload:
    fields = {"survivor": survivor, "reason": "Pasien terdaftar dua kali"}
    return "id.rekam.registration.PatientMerged", fields


def unmerged(survivor: str, merge: EventId) -> Payload:
    fields = {"survivor": survivor, "merge": merge, "reason": "Ternyata orang lain"}
    return "id.rekam.registration.PatientUnmerged", fields


def number_reserved(series: str, sequence: int, number: str, subject: str, record: str | None) -> Payload:
    return (
        "id.rekam.clinic.NumberReserved",
        {"series": series, "sequence": sequence, "number": number, "subject": subject, "subject_id": record},
    )


def organisation(record_id: str, name: str, address: Fields) -> Payload:
    return (
        "id.rekam.clinic.OrganisationRecorded",
        {
            "record_id": record_id,
            "name": name,
            "code": None,
            "text": "Klinik pratama",
            "identifiers": [],
            "address": address,
            "contacts": [],
            "parent": None,
            "active": True,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def location(record_id: str, name: str, organisation_id: str) -> Payload:
    return (
        "id.rekam.clinic.LocationRecorded",
        {
            "record_id": record_id,
            "name": name,
            "code": None,
            "text": None,
            "identifiers": [],
            "address": None,
            "contacts": [],
            "organisation": organisation_id,
            "active": True,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def practitioner(
    record_id: str, name: str, given: list[str], family: str | None, sex: str, licence: str, role: str
) -> Payload:
    return (
        "id.rekam.clinic.PractitionerRecorded",
        {
            "record_id": record_id,
            "name": name,
            "given": given,
            "family": family,
            "sex": sex,
            "nik": None,
            "licence_number": licence,
            "code": None,
            "text": role,
            "identifiers": [],
            "address": None,
            "contacts": [],
            "organisation": "clinic",
            "active": True,
            "corrects": None,
            "reason": None,
            "origin": None,
        },
    )


def setting(name: str, value: str) -> Payload:
    return "id.rekam.clinic.SettingChanged", {"name": name, "value": value, "reason": None}


def staff(name: str, username: str, practitioner_id: str | None) -> Payload:
    return (
        "id.rekam.staff.StaffRegistered",
        {"name": name, "username": username, "practitioner": practitioner_id, "active": True},
    )


def role_granted(role: str) -> Payload:
    return "id.rekam.staff.StaffRoleGranted", {"role": role, "location": None, "until": None, "reason": None}


def credential(kind: str, value: str) -> Payload:
    fields = {"kind": kind, "credential": value, "reason": "Karyawan baru"}
    return "id.rekam.staff.StaffCredentialChanged", fields


def viewed(patient: str, section: str) -> Payload:
    return (
        "id.rekam.access.RecordViewed",
        {
            "patient": patient,
            "section": section,
            "encounter_id": None,
            "purpose": "treatment",
            "break_glass": False,
            "reason": None,
        },
    )


def printed(patient: str, document: str) -> Payload:
    return (
        "id.rekam.access.RecordPrinted",
        {"patient": patient, "document": document, "record_id": None, "copies": 1, "purpose": "treatment"},
    )
