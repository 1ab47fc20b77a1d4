"""Which function maps which resource type."""

from __future__ import annotations

from collections.abc import Mapping

from services.fhir.mapping import billing, care, clinic, laboratory, registration
from services.fhir.mapping.shape import Map, Mapped, Resource
from services.fhir.references import Naming

MAPPINGS: Mapping[str, Map] = {
    "Patient": registration.patient,
    "Encounter": care.encounter,
    "Condition": care.condition,
    "AllergyIntolerance": care.allergy,
    "Procedure": care.procedure,
    "MedicationRequest": care.medication_request,
    "MedicationAdministration": care.medication_administration,
    "Immunization": care.immunization,
    "DocumentReference": care.document_reference,
    "Binary": care.binary,
    "Observation": laboratory.observation,
    "DiagnosticReport": laboratory.diagnostic_report,
    "Claim": billing.claim,
    "ExplanationOfBenefit": billing.explanation_of_benefit,
    "Organization": clinic.organization,
    "Practitioner": clinic.practitioner,
    "Location": clinic.location,
}


def map_resource(resource: Resource, naming: Naming) -> Mapped | None:
    """None where the type is not mapped or the resource lacks what its event type needs."""
    mapping = MAPPINGS.get(resource["resourceType"])
    return mapping(resource, naming) if mapping else None
