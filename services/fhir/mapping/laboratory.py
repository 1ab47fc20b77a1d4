"""Observation and DiagnosticReport -> the laboratory family, and ObservationRecorded for what is not laboratory.

An Observation of category `laboratory` is a laboratory result, whose correction is an event type of its own; every
other one (vital signs, survey, social history, …) is an observation.
"""

from __future__ import annotations

from services.fhir import elements
from services.fhir.elements import Fields, each, first, text
from services.fhir.mapping.care import UNKNOWN
from services.fhir.mapping.shape import Mapped, Resource
from services.fhir.references import Naming

LABORATORY = "laboratory"
CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"


def observation(resource: Resource, naming: Naming) -> Mapped:
    category = _category(resource)
    when = elements.earliest_named(
        resource, "effectiveDateTime", "effectivePeriod", "effectiveInstant", "issued"
    )
    fields: Fields = {
        "record_id": resource["id"],
        "encounter_id": naming.name(resource.get("encounter"), "Encounter"),
        "status": text(resource, "status") or UNKNOWN,
        **elements.coded(resource.get("code")),
        **elements.value_of(resource),
        "interpretation": elements.code(first(resource, "interpretation")),
        "components": [elements.component(part) for part in each(resource, "component")],
        "practitioner": naming.first(_listed(resource, "performer"), "Practitioner"),
    }
    if category != LABORATORY:
        return Mapped("care.ObservationRecorded", {**fields, "category": category}, when)
    bounds = first(resource, "referenceRange")
    fields |= {
        "order_id": naming.first(_listed(resource, "basedOn"), "ServiceRequest"),
        "specimen_id": naming.name(resource.get("specimen"), "Specimen"),
        "range_low": _bound(bounds, "low"),
        "range_high": _bound(bounds, "high"),
        "range_text": text(bounds, "text"),
    }
    return Mapped("laboratory.LaboratoryResulted", fields, when, "laboratory.LaboratoryResultCorrected")


def _category(resource: Resource) -> str | None:
    """FHIR's own category, wherever it stands among others; else the first code."""
    found = [
        (held.get("system"), code)
        for concept in each(resource, "category")
        for held in each(concept, "coding")
        if (code := text(held, "code"))
    ]
    return next((code for system, code in found if system == CATEGORIES), found[0][1] if found else None)


def _bound(bounds: object, name: str) -> str | None:
    held = elements.quantity(elements.member(bounds, name))
    return held["value"] if held else None


def _listed(resource: Resource, name: str) -> list[object]:
    held = resource.get(name)
    return held if isinstance(held, list) else []


def diagnostic_report(resource: Resource, naming: Naming) -> Mapped:
    results = (naming.name(reference, "Observation") for reference in _listed(resource, "result"))
    fields = {
        "record_id": resource["id"],
        "encounter_id": naming.name(resource.get("encounter"), "Encounter"),
        "order_id": naming.first(_listed(resource, "basedOn"), "ServiceRequest"),
        "status": text(resource, "status") or UNKNOWN,
        "category": elements.code(first(resource, "category")),
        **elements.coded(resource.get("code")),
        "results": [name for name in results if name],
        "conclusion": text(resource, "conclusion"),
        "issued_at": elements.moment(resource.get("issued")),
        "practitioner": naming.first(
            [*_listed(resource, "resultsInterpreter"), *_listed(resource, "performer")], "Practitioner"
        ),
    }
    when = elements.earliest_named(resource, "effectiveDateTime", "effectivePeriod", "issued")
    return Mapped("laboratory.LaboratoryReported", fields, when)
