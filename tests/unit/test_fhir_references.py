"""What references point at, and whose stream a resource belongs to."""

from __future__ import annotations

import pytest

from services.fhir.references import (
    Directory,
    Naming,
    Reference,
    clinic_record_id,
    patient_of,
    patient_stream,
    read_reference,
    source_stream,
)

LINKS = {
    "urn:uuid:u1": "Patient/p1",
    "http://host/fhir/Patient/x": "Patient/p2",
    "http://a/b": "Practitioner/d1",
}


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ({"reference": "Patient/7"}, Reference("Patient", id="7")),
        ({"reference": "Patient/7/_history/3"}, Reference("Patient", id="7")),
        ({"reference": "https://elsewhere/fhir/Patient/7"}, Reference("Patient", id="7")),
        ({"reference": "https://elsewhere/fhir/Patient/7/_history/2"}, Reference("Patient", id="7")),
        ({"reference": "urn:uuid:u1"}, Reference("Patient", id="p1")),
        ({"reference": "http://host/fhir/Patient/x"}, Reference("Patient", id="p2")),
        ({"reference": "http://a/b"}, Reference("Practitioner", id="d1")),
        ({"reference": "urn:uuid:unknown"}, None),
        ({"reference": "urn:uuid:unknown", "type": "Patient"}, Reference("Patient", id="unknown")),
        (
            {"reference": "Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|99"},
            Reference("Practitioner", identifier="http://hl7.org/fhir/sid/us-npi|99"),
        ),
        (
            {"reference": "Patient?active=true&identifier=urn%3Aa%7C1%2B1"},
            Reference("Patient", identifier="urn:a|1+1"),
        ),
        ({"reference": "Patient?name=x"}, None),
        ({"reference": "#med"}, Reference(None, contained="med")),
        (
            {"identifier": {"system": "s", "value": "v"}, "type": "Location"},
            Reference("Location", identifier="s|v"),
        ),
        ({"identifier": {"value": "v"}}, Reference(None, identifier="|v")),
        ({"reference": 5, "identifier": {"value": 5}}, None),
        ({"reference": ""}, None),
        ({"display": "somebody"}, None),
        ("Patient/7", None),
        (None, None),
    ],
)
def test_forms(element: object, expected: Reference | None) -> None:
    assert read_reference(element, LINKS) == expected


def test_the_patient_of_a_resource() -> None:
    assert patient_of({"subject": {"reference": "Patient/1"}}, {}) == Reference("Patient", id="1")
    assert patient_of({"beneficiary": {"reference": "Patient/1"}}, {}) == Reference("Patient", id="1")
    assert patient_of({"patient": {"identifier": {"value": "1"}}}, {}) == Reference(
        "Patient", identifier="|1"
    )
    assert patient_of(
        {"subject": {"reference": "Group/1"}, "patient": {"reference": "Patient/2"}}, {}
    ) == Reference("Patient", id="2")
    assert patient_of({"subject": {"reference": "Location/1"}}, {}) is None
    assert patient_of({"subject": {"identifier": {"value": "1"}}}, {}) is None
    assert patient_of({"subject": [1]}, {}) is None


def test_streams_depend_on_source_and_id_alone() -> None:
    assert patient_stream("a", "1") == patient_stream("a", "1")
    assert (
        len(
            {patient_stream("a", "1"), patient_stream("b", "1"), patient_stream("a", "2"), source_stream("a")}
        )
        == 4
    )
    assert patient_stream("a", "1").startswith("patient-")


def test_names_of_other_records() -> None:
    resource = {"contained": [{"resourceType": "Medication", "id": "m", "code": {"text": "x"}}, 7]}
    naming = Naming("src", resource, LINKS)
    assert naming.name({"reference": "Encounter/1"}, "Encounter") == "1"
    assert (
        naming.name({"reference": "Practitioner/1"}, "Practitioner")
        == clinic_record_id("src", "1")
        == "src/1"
    )
    assert naming.name({"reference": "Practitioner?identifier=s|1"}, "Practitioner") == "s|1"
    assert naming.name({"reference": "Organization/1"}, "Practitioner") is None
    assert naming.name({"identifier": {"system": "s", "value": "1"}}, "Practitioner") == "s|1"
    assert naming.first(
        [None, {"reference": "Organization/1"}, {"reference": "Practitioner/2"}], "Practitioner"
    ) == ("src/2")
    assert naming.inside({"reference": "#m"}) == resource["contained"][0]
    assert naming.inside({"reference": "#other"}) is None


def test_a_directory_resolves_what_is_unambiguous() -> None:
    directory = Directory(
        [("src/1", "npi", "9"), ("src/2", "npi", "8"), ("src/3", "npi", "8"), ("src/4", None, "5")]
    )
    assert directory.resolve("npi|9") == "src/1"
    assert directory.resolve("npi|8") == "npi|8"
    assert directory.resolve("|5") == "src/4"
    assert directory.resolve("npi|7") == "npi|7"
