"""Organization, Practitioner, Location -> records of the clinic's stream."""

from __future__ import annotations

from services.fhir import elements
from services.fhir.elements import Fields, first, member, text
from services.fhir.mapping.registration import NIK_SYSTEM, UNNAMED, is_nik
from services.fhir.mapping.shape import Mapped, Resource
from services.fhir.references import Naming, clinic_record_id


def organization(resource: Resource, naming: Naming) -> Mapped:
    fields = {
        **_known(resource, naming),
        "name": text(resource, "name") or UNNAMED,
        **elements.coded(first(resource, "type")),
        "address": elements.address(first(resource, "address")),
        "parent": naming.name(resource.get("partOf"), "Organization"),
        "active": resource.get("active") is not False,
    }
    return Mapped("clinic.OrganisationRecorded", fields, None)


def location(resource: Resource, naming: Naming) -> Mapped:
    fields = {
        **_known(resource, naming),
        "name": text(resource, "name") or text(resource, "description") or UNNAMED,
        **elements.coded(first(resource, "type") or resource.get("physicalType")),
        "address": elements.address(member(resource, "address")),
        "organisation": naming.name(resource.get("managingOrganization"), "Organization"),
        "active": text(resource, "status") != "inactive",
    }
    return Mapped("clinic.LocationRecorded", fields, None)


def practitioner(resource: Resource, naming: Naming) -> Mapped:
    name = elements.official_name(resource)
    known = _known(resource, naming)
    nik = next(
        (i["value"] for i in known["identifiers"] if i["system"] == NIK_SYSTEM and is_nik(i["value"])), None
    )
    known["identifiers"] = [i for i in known["identifiers"] if nik is None or i["value"] != nik]
    fields = {
        **known,
        "name": elements.full_name(name) or UNNAMED,
        "given": elements.texts(name, "given"),
        "family": text(name, "family"),
        "sex": elements.sex(resource),
        "nik": nik,
        "licence_number": None,
        **elements.coded(first(resource, "qualification").get("code")),
        "address": elements.address(first(resource, "address")),
        "organisation": None,
        "active": resource.get("active") is not False,
    }
    return Mapped("clinic.PractitionerRecorded", fields, None)


def _known(resource: Resource, naming: Naming) -> Fields:
    return {
        "record_id": clinic_record_id(naming.source, resource["id"]),
        "identifiers": elements.identifiers(resource),
        "contacts": elements.contacts(resource),
    }
