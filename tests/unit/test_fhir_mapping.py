"""What each mapped resource says in our words; amounts, times and names exactly."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from services.fhir.mapping import MAPPINGS, Mapped, map_resource
from services.fhir.references import Naming
from tests.fhir_resources import RESOURCES

ICD = {"system": "http://hl7.org/fhir/sid/icd-10", "code": "A09", "display": "Diarrhoea"}
AT_8 = 1_795_395_600_000_000
"""2026-11-23T08:00:00+07:00"""
MINUTE = 60_000_000

EXPECTED: dict[str, tuple[str, int | None, dict[str, Any]]] = {
    "Patient": (
        "registration.PatientRegistered",
        None,
        {
            "nik": "3171014501900001",
            "name": "Siti Nur Rahayu",
            "family": "Rahayu",
            "sex": "female",
            "birth_place": "Bandung",
            "language": "id-ID",
            "deceased": False,
            "managing_organisation": "src/o1",
        },
    ),
    "Encounter": (
        "care.EncounterRecorded",
        AT_8,
        {
            "record_id": "e1",
            "encounter_class": "AMB",
            "text": "Kontrol",
            "complaint_text": "Demam",
            "started_at": AT_8,
            "ended_at": AT_8 + 30 * MINUTE,
            "practitioner": "src/d1",
            "location": "urn:l|7",
            "organisation": "urn:o|1",
        },
    ),
    "Condition": (
        "care.DiagnosisRecorded",
        AT_8 + 10 * MINUTE,
        {"code": ICD, "text": "Diare", "onset": "2026-11", "severity": "ringan", "encounter_id": "e1"},
    ),
    "AllergyIntolerance": (
        "care.AllergyRecorded",
        1_577_836_800_000_000,
        {
            "categories": ["food", "medication"],
            "onset": "masa kecil",
            "criticality": "high",
            "encounter_id": None,
        },
    ),
    "Procedure": (
        "care.ProcedureRecorded",
        1_795_392_000_000_000,
        {"ended_at": None, "outcome": "baik", "practitioner": "src/d1", "location": "src/l1"},
    ),
    "MedicationRequest": (
        "care.MedicationPrescribed",
        AT_8 + 20 * MINUTE,
        {"code": ICD, "dosage": "3 x 1", "days": 5},
    ),
    "MedicationAdministration": (
        "care.MedicationAdministered",
        AT_8 + 25 * MINUTE,
        {
            "text": "Paracetamol 500 mg",
            "dose": {"value": "0.50", "unit": "g", "code": "g", "comparator": None},
            "prescription_id": "m1",
            "ended_at": AT_8 + 35 * MINUTE,
            "encounter_id": "e1",
        },
    ),
    "Immunization": (
        "care.ImmunisationGiven",
        1_795_392_000_000_000,
        {"dose_number": "2", "lot_number": "L1", "manufacturer": "Bio Farma"},
    ),
    "Observation": (
        "laboratory.LaboratoryResulted",
        AT_8 + 60 * MINUTE,
        {
            "quantity": {"value": "12.40", "unit": "g/dL", "code": "g/dL", "comparator": "<"},
            "range_low": "12.0",
            "range_high": "16.0",
            "interpretation": "L",
            "order_id": "s1",
            "specimen_id": "sp1",
        },
    ),
    "DiagnosticReport": (
        "laboratory.LaboratoryReported",
        AT_8 + 60 * MINUTE,
        {"results": ["ob1"], "issued_at": AT_8 + 90 * MINUTE + 500_000, "category": "LAB"},
    ),
    "Claim": (
        "billing.ClaimSubmitted",
        1_795_392_000_000_000,
        {
            "amount": "150000.50",
            "currency": "IDR",
            "payer": "BPJS",
            "organisation": "src/o1",
            "practitioner": None,
            "diagnosis_ids": ["c1"],
            "encounter_id": "e1",
            "items": [
                {"sequence": 1, "code": None, "text": "Konsultasi", "amount": "150000.50"},
                {"sequence": 2, "code": None, "text": "Obat", "amount": None},
            ],
        },
    ),
    "ExplanationOfBenefit": (
        "billing.ClaimAdjudicated",
        1_795_478_400_000_000,
        {
            "claim_id": "cl1",
            "approved_amount": "120000",
            "paid_amount": "27.200000000000003",
            "currency": "IDR",
        },
    ),
    "DocumentReference": (
        "care.DocumentAttached",
        AT_8,
        {
            "record_id": "doc1",
            "encounter_id": "e1",
            "status": "current",
            "title": "Ringkasan",
            "media_type": "text/plain",
            "size_bytes": 4,
            "content_sha256": hashlib.sha256(b"halo").digest(),
            "practitioner": "src/d1",
        },
    ),
    "Binary": (
        "care.DocumentAttached",
        None,
        {"record_id": "Binary/bin1", "media_type": "image/png", "size_bytes": 4, "text": "Binary"},
    ),
    "Organization": (
        "clinic.OrganisationRecorded",
        None,
        {"record_id": "src/o1", "parent": "src/o0", "active": False},
    ),
    "Practitioner": (
        "clinic.PractitionerRecorded",
        None,
        {
            "record_id": "src/d1",
            "name": "dr. Ani",
            "nik": "3171014501900002",
            "identifiers": [{"system": None, "value": "npi", "use": None}],
            "text": "Umum",
        },
    ),
    "Location": (
        "clinic.LocationRecorded",
        None,
        {"record_id": "src/l1", "name": "Poli 1", "organisation": "src/o1", "active": True},
    ),
}


def mapped(resource: dict[str, Any]) -> Mapped | None:
    return map_resource(resource, Naming("src", resource, {}))


@pytest.mark.parametrize("kind", sorted(MAPPINGS))
def test_mapping(kind: str) -> None:
    found = mapped(RESOURCES[kind])
    assert found is not None
    name, occurred_at, fields = EXPECTED[kind]
    assert (found.type, found.occurred_at) == (name, occurred_at)
    assert {key: found.fields[key] for key in fields} == fields


def test_an_observation_that_is_not_laboratory() -> None:
    resource = {**RESOURCES["Observation"], "category": [{"coding": [{"code": "vital-signs"}]}]}
    found = mapped(resource)
    assert found is not None
    assert (found.type, found.fields["category"]) == ("care.ObservationRecorded", "vital-signs")
    assert "range_low" not in found.fields


def test_what_cannot_be_mapped() -> None:
    assert mapped({"resourceType": "ExplanationOfBenefit", "id": "x"}) is None
    assert mapped({"resourceType": "CarePlan", "id": "x"}) is None
    assert mapped({"resourceType": "DocumentReference", "id": "x", "content": [{"attachment": {}}]}) is None
    assert mapped({"resourceType": "Binary", "id": "x", "data": "no base64!"}) is None


def test_contacts_of_a_patient() -> None:
    found = mapped(RESOURCES["Patient"])
    assert found is not None
    assert [(c["relationship"], c["name"], c["value"]) for c in found.fields["contacts"]] == [
        ("self", None, "0812-000-111"),
        ("N", "Budi", "0813"),
    ]
    assert [i["value"] for i in found.fields["identifiers"]] == ["P02478375538", "00-12-34"]
    assert found.fields["address"]["region_code"] == "3171011001"
