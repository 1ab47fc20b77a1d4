"""The generated models: fresh, as strict as the schemas, and stricter where people and programs enter things."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from events import catalogue, generate_payloads
from events.codec import encode_event
from events.payloads import MODELS, care, clinic, registration
from events.payloads.common import Coding, Quantity
from tests.examples import examples
from tests.payload_strategies import payloads
from tests.property.test_codec import SIMPLE


def test_the_models_are_what_the_schemas_give() -> None:
    assert generate_payloads.stale() == [], "run python -m events.generate_payloads"


def test_every_event_type_has_a_model_with_its_fields_in_order() -> None:
    assert tuple(MODELS) == catalogue.event_types()
    for name, model in MODELS.items():
        fields = [field["name"] for field in catalogue.definitions()[name]["fields"]]
        assert list(model.model_fields) == fields


@settings(max_examples=examples(150))
@given(payloads())
def test_what_a_schema_allows_a_model_gives_back(payload: tuple[str, dict[str, Any]]) -> None:
    name, fields = payload
    made = MODELS[name].model_validate(fields).to_payload()
    assert made == payload
    assert encode_event(SIMPLE._replace(payload=made)) == encode_event(SIMPLE._replace(payload=payload))


def test_what_is_left_out_is_filled_in() -> None:
    made = care.ObservationRecorded(record_id="o", status="final").to_payload()
    assert set(made[1]) == set(care.ObservationRecorded.model_fields)
    assert made[1]["components"] == [] and made[1]["code"] is None
    encode_event(SIMPLE._replace(payload=made))


PATIENT: dict[str, Any] = {"name": "Siti", "sex": "female"}
WRONG: list[tuple[type[Any], dict[str, Any]]] = [
    (registration.PatientRegistered, {**PATIENT, "nik": "123"}),
    (registration.PatientRegistered, {**PATIENT, "nik": "31710255019000٠1"}),
    (registration.PatientRegistered, {**PATIENT, "birth_date": "01/02/1990"}),
    (registration.PatientRegistered, {**PATIENT, "birth_date": "1990-13"}),
    (registration.PatientRegistered, {**PATIENT, "sex": "f"}),
    (registration.PatientRegistered, {**PATIENT, "name": "a\0b"}),
    (registration.PatientRegistered, {**PATIENT, "name": "\ud800"}),
    (registration.PatientRegistered, {**PATIENT, "name": 5}),
    (registration.PatientRegistered, {**PATIENT, "colour": "red"}),
    (registration.PatientRegistered, {"sex": "female"}),
    (Quantity, {"value": "1e5"}),
    (Quantity, {"value": "-0"}),
    (Quantity, {"value": 37.5}),
    (Coding, {"system": "http://loinc.org", "code": " 8867-4"}),
    (Coding, {"system": "http://loinc.org", "code": ""}),
    (care.ObservationRecorded, {"record_id": "", "status": "final"}),
    (care.ObservationRecorded, {"record_id": "é" * 200, "status": "final"}),
    (care.ObservationRecorded, {"record_id": "o", "status": "final", "corrects": b"short"}),
    (
        care.EncounterRecorded,
        {"record_id": "e", "status": "x", "encounter_class": "AMB", "started_at": 2**60},
    ),
    (care.EnteredInError, {"kind": "photograph", "record_id": "x", "target": b"t" * 16}),
    (clinic.NumberReserved, {"series": "s", "sequence": 2**63, "number": "1", "subject": "p"}),
]


@pytest.mark.parametrize(("model", "fields"), WRONG)
def test_what_is_wrong_is_refused_without_repeating_it(model: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        model.model_validate(fields)
    assert "input_value" not in str(error.value)


DATES = ["1990", "1990-02", "1990-02-28", "2020-01-01T00:00:00.123+07:00", "2020-01-01T00:00:00Z"]


@pytest.mark.parametrize("date", DATES)
def test_dates_may_be_partial(date: str) -> None:
    assert registration.PatientRegistered(**PATIENT, birth_date=date).birth_date == date
