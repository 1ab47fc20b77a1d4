"""The care and laboratory families as FHIR."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from services.fhir.building.shape import (
    About,
    Built,
    clean,
    code_in,
    coded,
    coding,
    component,
    concept,
    decimal,
    instant,
    period,
    quantity,
    reference,
    references,
    subject,
    value,
)
from services.fhir.elements import Fields
from services.fhir.mapping.laboratory import CATEGORIES, LABORATORY

_TERMS = "http://terminology.hl7.org/CodeSystem/"


def _of_encounter(kind: str, fields: Fields, about: About, patient: str = "subject") -> Mapping[str, object]:
    return {
        "resourceType": kind,
        "id": fields["record_id"],
        patient: subject(about),
        "encounter": reference("Encounter", fields["encounter_id"]),
    }


def _performer(name: str | None) -> list[Built]:
    return [{"actor": reference("Practitioner", name)}] if name else []


def _listed(held: Built) -> list[Built]:
    return [held] if held else []


def encounter(fields: Fields, about: About) -> Built:
    doctor, place = fields["practitioner"], fields["location"]
    return clean(
        resourceType="Encounter",
        id=fields["record_id"],
        status=fields["status"],
        class_={"system": _TERMS + "v3-ActCode", "code": fields["encounter_class"]},
        type_=_listed(coded(fields)),
        subject=subject(about),
        participant=[{"individual": reference("Practitioner", doctor)}] if doctor else None,
        period=period(fields["started_at"], fields["ended_at"]),
        reasonCode=_listed(concept(fields["complaint"], fields["complaint_text"])),
        hospitalization={"dischargeDisposition": concept(fields["discharge"])}
        if fields["discharge"]
        else None,
        location=[{"location": reference("Location", place)}] if place else None,
        serviceProvider=reference("Organization", fields["organisation"]),
    )


def condition(fields: Fields, about: About) -> Built:
    return clean(
        **_of_encounter("Condition", fields, about),
        clinicalStatus=code_in(_TERMS + "condition-clinical", fields["status"]),
        verificationStatus=code_in(_TERMS + "condition-ver-status", fields["verification"]),
        category=_listed(code_in(_TERMS + "condition-category", fields["category"])),
        severity={"text": fields["severity"]} if fields["severity"] else None,
        code=coded(fields),
        **_when("onset", fields["onset"]),
        **_when("abatement", fields["abatement"]),
        recordedDate=instant(about.occurred_at),
        asserter=reference("Practitioner", fields["practitioner"]),
    )


def _when(stem: str, said: str | None) -> Built:
    """A date or time as such, anything else as words."""
    if not said:
        return {}
    dated = said[:4].isdigit() and (len(said) == 4 or said[4] == "-")
    return {f"{stem}DateTime" if dated else f"{stem}String": said}


def allergy(fields: Fields, about: About) -> Built:
    return clean(
        **_of_encounter("AllergyIntolerance", fields, about, "patient"),
        clinicalStatus=code_in(_TERMS + "allergyintolerance-clinical", fields["status"]),
        verificationStatus=code_in(_TERMS + "allergyintolerance-verification", fields["verification"]),
        type_=fields["kind"],
        category=fields["categories"],
        criticality=fields["criticality"],
        code=coded(fields),
        **_when("onset", fields["onset"]),
        recordedDate=instant(about.occurred_at),
        asserter=reference("Practitioner", fields["practitioner"]),
        reaction=[clean(manifestation=[coded(r)], severity=r["severity"]) for r in fields["reactions"]],
    )


def procedure(fields: Fields, about: About) -> Built:
    return clean(
        **_of_encounter("Procedure", fields, about),
        status=fields["status"],
        code=coded(fields),
        performedPeriod=period(fields["started_at"], fields["ended_at"]),
        performer=_performer(fields["practitioner"]),
        location=reference("Location", fields["location"]),
        reasonCode=_listed(concept(fields["indication"])),
        outcome={"text": fields["outcome"]} if fields["outcome"] else None,
    )


def medication_request(fields: Fields, about: About) -> Built:
    dose = quantity(fields["dose"])
    days = {"value": fields["days"], "system": "http://unitsofmeasure.org", "code": "d", "unit": "d"}
    return clean(
        **_of_encounter("MedicationRequest", fields, about),
        status=fields["status"],
        intent="order",
        medicationCodeableConcept=coded(fields),
        authoredOn=instant(about.occurred_at),
        requester=reference("Practitioner", fields["practitioner"]),
        reasonCode=_listed(concept(fields["indication"])),
        dosageInstruction=_listed(
            clean(
                text=fields["dosage"],
                route=concept(fields["route"]),
                doseAndRate=[{"doseQuantity": dose}] if dose else None,
            )
        ),
        dispenseRequest=clean(
            quantity=quantity(fields["quantity"]),
            expectedSupplyDuration=days if fields["days"] is not None else None,
        ),
    )


def medication_administration(fields: Fields, about: About) -> Built:
    ended = fields["ended_at"]
    return clean(
        resourceType="MedicationAdministration",
        id=fields["record_id"],
        status=fields["status"],
        medicationCodeableConcept=coded(fields),
        subject=subject(about),
        context=reference("Encounter", fields["encounter_id"]),
        effectiveDateTime=instant(about.occurred_at) if ended is None else None,
        effectivePeriod=period(about.occurred_at, ended) if ended is not None else None,
        performer=_performer(fields["practitioner"]),
        reasonCode=_listed(concept(fields["indication"])),
        request=reference("MedicationRequest", fields["prescription_id"]),
        dosage=clean(route=concept(fields["route"]), dose=quantity(fields["dose"])),
    )


def immunization(fields: Fields, about: About) -> Built:
    dose = fields["dose_number"]
    return clean(
        **_of_encounter("Immunization", fields, about, "patient"),
        status=fields["status"],
        vaccineCode=coded(fields),
        occurrenceDateTime=instant(about.occurred_at),
        location=reference("Location", fields["location"]),
        manufacturer={"display": fields["manufacturer"]} if fields["manufacturer"] else None,
        lotNumber=fields["lot_number"],
        expirationDate=fields["expires_on"],
        site=concept(fields["site"]),
        route=concept(fields["route"]),
        doseQuantity=quantity(fields["dose"]),
        performer=_performer(fields["practitioner"]),
        protocolApplied=[{"doseNumberString": dose}] if dose else None,
    )


def note(fields: Fields, about: About) -> Built:
    data = base64.b64encode(fields["text"].encode()).decode()
    return clean(
        resourceType="DocumentReference",
        id=fields["record_id"],
        status="current",
        type_={"text": fields["kind"]},
        subject=subject(about),
        date=instant(about.occurred_at),
        author=_listed(reference("Practitioner", fields["practitioner"])),
        content=[
            {
                "attachment": clean(
                    contentType="text/markdown; charset=utf-8", data=data, title=fields["title"]
                )
            }
        ],
        context=clean(encounter=_listed(reference("Encounter", fields["encounter_id"]))),
    )


def document(fields: Fields, about: About) -> Built:
    """`file`, which the exporter adds: the content, in bytes."""
    data = base64.b64encode(fields["file"]).decode() if "file" in fields else None
    return clean(
        resourceType="DocumentReference",
        id=fields["record_id"],
        status=fields["status"],
        type_=coded(fields),
        subject=subject(about),
        date=instant(about.occurred_at),
        author=_listed(reference("Practitioner", fields["practitioner"])),
        content=[{"attachment": clean(contentType=fields["media_type"], data=data, title=fields["title"])}],
        context=clean(encounter=_listed(reference("Encounter", fields["encounter_id"]))),
    )


def observation(fields: Fields, about: About) -> Built:
    return clean(
        **_of_encounter("Observation", fields, about),
        status=fields["status"],
        category=_listed(code_in(CATEGORIES, fields["category"])),
        **_measured(fields, about),
    )


def laboratory_result(fields: Fields, about: About) -> Built:
    low, high = decimal(fields["range_low"]), decimal(fields["range_high"])
    bounds = clean(
        low={"value": low} if low is not None else None,
        high={"value": high} if high is not None else None,
        text=fields["range_text"],
    )
    return clean(
        **_of_encounter("Observation", fields, about),
        basedOn=_listed(reference("ServiceRequest", fields["order_id"])),
        status=fields["status"],
        category=[code_in(CATEGORIES, LABORATORY)],
        **_measured(fields, about),
        specimen=reference("Specimen", fields["specimen_id"]),
        referenceRange=_listed(bounds),
    )


def _measured(fields: Fields, about: About) -> Built:
    return {
        "code": coded(fields),
        "effectiveDateTime": instant(about.occurred_at),
        "performer": _listed(reference("Practitioner", fields["practitioner"])),
        **value(fields),
        "interpretation": _listed(code_in(_TERMS + "v3-ObservationInterpretation", fields["interpretation"])),
        "component": [component(part) for part in fields["components"]],
    }


def laboratory_report(fields: Fields, about: About) -> Built:
    return clean(
        **_of_encounter("DiagnosticReport", fields, about),
        basedOn=_listed(reference("ServiceRequest", fields["order_id"])),
        status=fields["status"],
        category=_listed(code_in(_TERMS + "v2-0074", fields["category"])),
        code=coded(fields),
        effectiveDateTime=instant(about.occurred_at),
        issued=instant(fields["issued_at"]),
        performer=_listed(reference("Practitioner", fields["practitioner"])),
        result=references("Observation", fields["results"]),
        conclusion=fields["conclusion"],
    )


def laboratory_order(fields: Fields, about: About) -> Built:
    return clean(
        **_of_encounter("ServiceRequest", fields, about),
        status=fields["status"],
        intent="order",
        priority=fields["priority"],
        code=clean(coding=[coding(test) for test in fields["tests"]], text=fields["text"]),
        authoredOn=instant(about.occurred_at),
        requester=reference("Practitioner", fields["practitioner"]),
    )


def specimen(fields: Fields, about: About) -> Built:
    collected = clean(
        collector=reference("Practitioner", fields["practitioner"]),
        collectedDateTime=instant(about.occurred_at),
    )
    return clean(
        resourceType="Specimen",
        id=fields["record_id"],
        status=fields["status"],
        type_=coded(fields),
        subject=subject(about),
        request=_listed(reference("ServiceRequest", fields["order_id"])),
        collection=collected,
        container=[{"identifier": [{"value": fields["container"]}]}] if fields["container"] else None,
    )
