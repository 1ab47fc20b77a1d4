"""Patient, Organization, Practitioner, Location out of the registration and clinic families."""

from __future__ import annotations

from services.fhir.building.shape import (
    About,
    Built,
    address,
    clean,
    code_in,
    coded,
    identifiers,
    reference,
    telecom,
    telecoms,
)
from services.fhir.elements import Fields
from services.fhir.mapping.registration import NIK_SYSTEM

_EXTENSIONS = "http://hl7.org/fhir/StructureDefinition/patient-"
_MARITAL = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
_RELATIONSHIP = "http://terminology.hl7.org/CodeSystem/v2-0131"
MEDICAL_RECORD = "urn:rekam:medical-record-number"


def patient(fields: Fields, about: About) -> Built:
    died = fields["death_date"] or (True if fields["deceased"] else None)
    return clean(
        resourceType="Patient",
        id=about.patient_id,
        extension=_patient_extensions(fields),
        identifier=[
            *_number(MEDICAL_RECORD, fields["medical_record_number"]),
            *_number(NIK_SYSTEM, fields["nik"]),
            *identifiers(fields["identifiers"]),
        ],
        name=[_name(fields)],
        telecom=telecoms(fields["contacts"]),
        gender=fields["sex"],
        birthDate=fields["birth_date"],
        deceasedBoolean=died if died is True else None,
        deceasedDateTime=None if died is True else died,
        address=[address(fields["address"])] if fields["address"] else None,
        maritalStatus=code_in(_MARITAL, fields["marital_status"]),
        contact=related(fields["contacts"]),
        communication=[{"language": code_in("urn:ietf:bcp:47", fields["language"])}]
        if fields["language"]
        else None,
        managingOrganization=reference("Organization", fields["managing_organisation"]),
    )


def _patient_extensions(fields: Fields) -> list[Built]:
    place, mother, religion = fields["birth_place"], fields["mother_name"], fields["religion"]
    held = (
        {"url": _EXTENSIONS + "birthPlace", "valueAddress": {"city": place}} if place else None,
        {"url": _EXTENSIONS + "mothersMaidenName", "valueString": mother} if mother else None,
        {"url": _EXTENSIONS + "religion", "valueCodeableConcept": {"text": religion}} if religion else None,
    )
    return [extension for extension in held if extension]


def related(contacts: list[Fields]) -> list[Built]:
    """The people close to a patient, one for each way to reach them."""
    return [
        clean(
            relationship=[code_in(_RELATIONSHIP, c["relationship"])],
            name={"text": c["name"]} if c["name"] else None,
            telecom=[telecom(c)] if telecom(c) else None,
        )
        for c in contacts
        if c["relationship"] != "self"
    ]


def _number(system: str, value: str | None) -> list[Built]:
    return [{"use": "official", "system": system, "value": value}] if value else []


def _name(fields: Fields) -> Built:
    return clean(use="official", text=fields["name"], family=fields["family"], given=fields["given"])


def organization(fields: Fields, about: About) -> Built:
    return clean(
        resourceType="Organization",
        **_known(fields),
        active=fields["active"],
        type_=[coded(fields)] if coded(fields) else None,
        name=fields["name"],
        address=[address(fields["address"])] if fields["address"] else None,
        partOf=reference("Organization", fields["parent"]),
    )


def location(fields: Fields, about: About) -> Built:
    return clean(
        resourceType="Location",
        **_known(fields),
        status="active" if fields["active"] else "inactive",
        name=fields["name"],
        type_=[coded(fields)] if coded(fields) else None,
        address=address(fields["address"]),
        managingOrganization=reference("Organization", fields["organisation"]),
    )


def practitioner(fields: Fields, about: About) -> Built:
    known = _known(fields)
    known["identifier"] = [*_number(NIK_SYSTEM, fields["nik"]), *known["identifier"]]
    return clean(
        resourceType="Practitioner",
        **known,
        active=fields["active"],
        name=[_name(fields)],
        gender=fields["sex"],
        address=[address(fields["address"])] if fields["address"] else None,
        qualification=[{"code": coded(fields)}] if coded(fields) else None,
    )


def _known(fields: Fields) -> Built:
    return {
        "id": fields["record_id"].rpartition("/")[2],
        "identifier": identifiers(fields["identifiers"]),
        "telecom": telecoms(fields["contacts"]),
    }
