"""Patient -> PatientRegistered, and PatientCorrected when it changed.

The number under which another hospital keeps the record stays among the identifiers: `medical_record_number` is the
clinic's own, reserved in its own stream.
"""

from __future__ import annotations

from services.fhir import elements
from services.fhir.elements import each, first, text
from services.fhir.mapping.shape import Mapped, Resource
from services.fhir.references import Naming

NIK_SYSTEM = "https://fhir.kemkes.go.id/id/nik"
"""SatuSehat's identifier system of the Nomor Induk Kependudukan."""
NIK_DIGITS = 16
UNNAMED = "(no name)"

_PLACE = (
    "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
    "https://fhir.kemkes.go.id/r4/StructureDefinition/birthPlace",
)
_MOTHER = "http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName"
_RELIGION = "http://hl7.org/fhir/StructureDefinition/patient-religion"


def patient(resource: Resource, naming: Naming) -> Mapped:
    name = elements.official_name(resource)
    held = elements.identifiers(resource)
    nik = next((i["value"] for i in held if i["system"] == NIK_SYSTEM and is_nik(i["value"])), None)
    died = elements.date(resource, "deceasedDateTime")
    fields = {
        "medical_record_number": None,
        "nik": nik,
        "identifiers": [i for i in held if not (i["system"] == NIK_SYSTEM and i["value"] == nik)],
        "name": elements.full_name(name) or UNNAMED,
        "given": elements.texts(name, "given"),
        "family": text(name, "family"),
        "birth_date": elements.date(resource, "birthDate"),
        "birth_place": _birth_place(resource),
        "sex": elements.sex(resource),
        "deceased": "deceasedDateTime" in resource or resource.get("deceasedBoolean") is True,
        "death_date": died,
        "marital_status": elements.code(resource.get("maritalStatus")),
        "religion": elements.code(elements.extension(resource, _RELIGION).get("valueCodeableConcept")),
        "education": None,
        "occupation": None,
        "mother_name": text(elements.extension(resource, _MOTHER), "valueString"),
        "language": _language(resource),
        "address": elements.address(first(resource, "address")),
        "contacts": elements.contacts(resource) + elements.related(resource),
        "coverages": [],
        "managing_organisation": naming.name(resource.get("managingOrganization"), "Organization"),
    }
    return Mapped("registration.PatientRegistered", fields, None, "registration.PatientCorrected")


def is_nik(value: str) -> bool:
    return len(value) == NIK_DIGITS and value.isascii() and value.isdigit()


def _birth_place(resource: Resource) -> str | None:
    place = next((e for url in _PLACE if (e := elements.extension(resource, url))), {})
    return text(elements.member(place, "valueAddress"), "city") or text(place, "valueString")


def _language(resource: Resource) -> str | None:
    spoken = each(resource, "communication")
    preferred = next((s for s in spoken if s.get("preferred") is True), spoken[0] if spoken else {})
    return elements.code(preferred.get("language"))
