"""Payloads as FHIR: mapping what was built gives the payload again, for whatever FHIR can say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fhir.building import BUILDERS, build
from services.fhir.building.shape import About
from services.fhir.exact_json import parse, write
from services.fhir.items import validated
from services.fhir.mapping import map_resource
from services.fhir.references import Naming, patient_of

MICROS = st.integers(-2_000_000_000_000_000, 4_000_000_000_000_000)
WORDS = st.text('abcXYZ é{}"\\<', min_size=1, max_size=12).filter(lambda t: t.strip() == t)
CODES = st.text("abc-019", min_size=1, max_size=8)
DECIMALS = st.from_regex(r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?", fullmatch=True).filter(
    lambda t: any(c in "123456789" for c in t)
)
RECORDS = st.from_regex(r"[A-Za-z0-9.-]{1,20}", fullmatch=True)
CODING = st.fixed_dictionaries({"system": CODES, "code": CODES, "display": st.none() | WORDS})
PLACE = st.none() | RECORDS.map(lambda r: f"s/{r}") | CODES.map(lambda c: f"sys|{c}")
QUANTITY = st.builds(
    lambda value, code, comparator: {"value": value, "unit": code, "code": code, "comparator": comparator},
    DECIMALS,
    CODES,
    st.sampled_from([None, "<", ">="]),
)
VALUES = st.one_of(
    st.builds(lambda q: {"quantity": q, "coded": None, "value_text": None}, QUANTITY),
    st.builds(lambda c: {"quantity": None, "coded": c, "value_text": None}, CODING),
    st.builds(lambda t: {"quantity": None, "coded": None, "value_text": t}, st.none() | WORDS),
)
DATES = st.sampled_from(["1990", "1990-05", "1990-05-06"])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@st.composite
def coded(draw: st.DrawFn) -> dict[str, Any]:
    code, text = draw(maybe(CODING)), draw(maybe(WORDS))
    # The same words twice are said once.
    return {"code": code, "text": None if code and code["display"] == text else text}


@st.composite
def record(draw: st.DrawFn, own: dict[str, Any], *, visit: bool = True, code: bool = True) -> dict[str, Any]:
    fields = {"record_id": draw(RECORDS), **{name: draw(strategy) for name, strategy in own.items()}}
    if visit:
        fields["encounter_id"] = draw(maybe(RECORDS))
    return {**fields, **(draw(coded()) if code else {})}


@st.composite
def measured(draw: st.DrawFn, own: dict[str, Any]) -> dict[str, Any]:
    fields = draw(record({"status": CODES, "interpretation": maybe(CODES), "practitioner": PLACE, **own}))
    parts = draw(st.lists(st.tuples(coded(), VALUES), max_size=2))
    return {
        **fields,
        **draw(VALUES),
        "components": [{**c, **v} for c, v in parts if any((*c.values(), *v.values()))],
    }


@st.composite
def encounters(draw: st.DrawFn) -> dict[str, Any]:
    own = {name: maybe(MICROS) for name in ("ended_at",)}
    own |= {"status": CODES, "encounter_class": CODES, "practitioner": PLACE, "location": PLACE}
    fields = draw(record({**own, "organisation": PLACE, "discharge": maybe(CODING)}, visit=False))
    complaint = draw(coded())
    return {**fields, "complaint": complaint["code"], "complaint_text": complaint["text"]}


FIELDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "care.EncounterRecorded": encounters(),
    "care.ObservationRecorded": measured({"category": maybe(CODES.filter(lambda c: c != "laboratory"))}),
    "laboratory.LaboratoryResulted": measured(
        {
            "order_id": maybe(RECORDS),
            "specimen_id": maybe(RECORDS),
            "range_low": maybe(DECIMALS),
            "range_high": maybe(DECIMALS),
            "range_text": maybe(WORDS),
        }
    ),
    "care.DiagnosisRecorded": record(
        {
            "status": CODES,
            "verification": maybe(CODES),
            "category": maybe(CODES),
            "onset": maybe(DATES | WORDS),
        }
        | {"abatement": maybe(DATES), "severity": maybe(WORDS), "practitioner": PLACE, "rank": st.none()}
    ),
    "care.ProcedureRecorded": record(
        {"status": CODES, "ended_at": maybe(MICROS), "indication": maybe(CODING), "outcome": maybe(WORDS)}
        | {"practitioner": PLACE, "location": PLACE}
    ),
    "care.MedicationPrescribed": record(
        {"status": CODES, "dosage": maybe(WORDS), "dose": maybe(QUANTITY), "route": maybe(CODING)}
        | {"quantity": maybe(QUANTITY), "days": maybe(st.integers(0, 900)), "indication": maybe(CODING)}
        | {"practitioner": PLACE}
    ),
    "care.MedicationAdministered": record(
        {"status": CODES, "prescription_id": maybe(RECORDS), "dose": maybe(QUANTITY), "route": maybe(CODING)}
        | {"ended_at": maybe(MICROS), "indication": maybe(CODING), "practitioner": PLACE}
    ),
    "care.ImmunisationGiven": record(
        {"status": CODES, "lot_number": maybe(WORDS), "expires_on": maybe(DATES), "dose_number": maybe(CODES)}
        | {
            "dose": maybe(QUANTITY),
            "site": maybe(CODING),
            "route": maybe(CODING),
            "manufacturer": maybe(WORDS),
        }
        | {"practitioner": PLACE, "location": PLACE}
    ),
    "laboratory.LaboratoryReported": record(
        {"status": CODES, "order_id": maybe(RECORDS), "category": maybe(CODES), "conclusion": maybe(WORDS)}
        | {"results": st.lists(RECORDS, max_size=3), "issued_at": maybe(MICROS), "practitioner": PLACE}
    ),
    "billing.ClaimAdjudicated": record(
        {"claim_id": RECORDS, "outcome": CODES, "disposition": maybe(WORDS), "payer": maybe(WORDS)}
        | {"currency": st.just("IDR"), "submitted_amount": DECIMALS, "approved_amount": maybe(DECIMALS)}
        | {"patient_amount": maybe(DECIMALS), "paid_amount": maybe(DECIMALS)},
        visit=False,
        code=False,
    ),
}


@pytest.mark.parametrize("name", sorted(FIELDS))
@given(data=st.data(), at=MICROS)
def test_mapping_what_was_built_gives_it_again(name: str, data: st.DataObject, at: int) -> None:
    fields = data.draw(FIELDS[name])
    if "started_at" in validated_fields(name, fields):
        fields["started_at"] = at
    full = validated_fields(name, fields)
    built = build((f"id.rekam.{name}", full), About("p1", at))
    assert built is not None
    resource = parse(write(built))  # what others get is text
    found = map_resource(resource, Naming("s", resource, {}))
    assert found is not None
    assert (found.type, found.occurred_at) == (name, at)
    again = validated_fields(name, found.fields)
    assert again == full
    patient = patient_of(resource, {})
    assert patient is not None and patient.id == "p1"


def validated_fields(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    payload = validated(name, fields)
    assert payload is not None
    return payload[1]


SPARSE: dict[str, dict[str, Any]] = {
    "registration.PatientRegistered": {"name": "Siti", "sex": "female"},
    "registration.PatientCorrected": {"name": "Siti", "sex": "female"},
    "care.EncounterRecorded": {"record_id": "1", "status": "finished", "encounter_class": "AMB"},
    "care.NoteWritten": {"record_id": "1", "kind": "soap", "text": "S: demam"},
    "care.DocumentAttached": {
        **{"record_id": "1", "status": "current", "media_type": "text/plain", "size_bytes": 0},
        "content_sha256": bytes(32),
    },
    "laboratory.LaboratoryOrdered": {"record_id": "1", "status": "active"},
    "laboratory.SpecimenCollected": {"record_id": "1", "status": "available"},
    "billing.ChargeRecorded": {"record_id": "1", "amount": "10.50", "currency": "IDR"},
    "billing.PaymentReceived": {"record_id": "1", "amount": "10.50", "currency": "IDR", "method": "cash"},
    "billing.ClaimSubmitted": {"record_id": "1"},
    "billing.ClaimAdjudicated": {"record_id": "1", "claim_id": "2", "outcome": "complete"},
    "clinic.OrganisationRecorded": {"record_id": "s/1", "name": "Klinik"},
    "clinic.LocationRecorded": {"record_id": "s/1", "name": "Poli"},
    "clinic.PractitionerRecorded": {"record_id": "s/1", "name": "dr. Ani"},
}


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_the_barest_payload_of_every_type_is_built_without_nulls(name: str) -> None:
    fields = SPARSE.get(name, {"record_id": "1", "status": "active"})
    built = build((f"id.rekam.{name}", validated_fields(name, fields)), About("p1", 0))
    assert built is not None
    assert built["resourceType"] == BUILDERS[name][0]
    assert built["id"] in ("1", "p1")
    text = write(built)
    assert not any(empty in text for empty in ("null", "[]", "{}", '""')), text
    json.loads(text)
