"""Which function builds which event type, and which resource type a kind of record is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from events.envelope import Payload, short_type
from services.fhir.building import billing, care, people
from services.fhir.building.shape import About, Built
from services.fhir.elements import Fields

Build: TypeAlias = Callable[[Fields, About], Built]

BUILDERS: Mapping[str, tuple[str, Build]] = {
    "registration.PatientRegistered": ("Patient", people.patient),
    "registration.PatientCorrected": ("Patient", people.patient),
    "care.EncounterRecorded": ("Encounter", care.encounter),
    "care.DiagnosisRecorded": ("Condition", care.condition),
    "care.AllergyRecorded": ("AllergyIntolerance", care.allergy),
    "care.ProcedureRecorded": ("Procedure", care.procedure),
    "care.MedicationPrescribed": ("MedicationRequest", care.medication_request),
    "care.MedicationAdministered": ("MedicationAdministration", care.medication_administration),
    "care.ImmunisationGiven": ("Immunization", care.immunization),
    "care.ObservationRecorded": ("Observation", care.observation),
    "care.NoteWritten": ("DocumentReference", care.note),
    "care.DocumentAttached": ("DocumentReference", care.document),
    "laboratory.LaboratoryOrdered": ("ServiceRequest", care.laboratory_order),
    "laboratory.SpecimenCollected": ("Specimen", care.specimen),
    "laboratory.LaboratoryResulted": ("Observation", care.laboratory_result),
    "laboratory.LaboratoryResultCorrected": ("Observation", care.laboratory_result),
    "laboratory.LaboratoryReported": ("DiagnosticReport", care.laboratory_report),
    "billing.ChargeRecorded": ("ChargeItem", billing.charge),
    "billing.PaymentReceived": ("PaymentReconciliation", billing.payment),
    "billing.ClaimSubmitted": ("Claim", billing.claim),
    "billing.ClaimAdjudicated": ("ExplanationOfBenefit", billing.explanation_of_benefit),
    "clinic.OrganisationRecorded": ("Organization", people.organization),
    "clinic.PractitionerRecorded": ("Practitioner", people.practitioner),
    "clinic.LocationRecorded": ("Location", people.location),
}
"""event type -> (resource type, builder)"""

KIND_TYPES: Mapping[str, str] = {
    "encounter": "Encounter",
    "observation": "Observation",
    "diagnosis": "Condition",
    "allergy": "AllergyIntolerance",
    "procedure": "Procedure",
    "prescription": "MedicationRequest",
    "administration": "MedicationAdministration",
    "immunisation": "Immunization",
    "note": "DocumentReference",
    "document": "DocumentReference",
    "laboratory_order": "ServiceRequest",
    "specimen": "Specimen",
    "laboratory_result": "Observation",
    "laboratory_report": "DiagnosticReport",
}
"""RecordKind (of EnteredInError) -> resource type"""


def build(payload: Payload, about: About) -> Built | None:
    """The resource that a payload says; None for an event that is no resource of its own."""
    found = BUILDERS.get(short_type(payload[0]))
    return found[1](payload[1], about) if found else None
