"""The billing family as FHIR: ChargeItem, PaymentReconciliation, Claim, ExplanationOfBenefit."""

from __future__ import annotations

from services.fhir.building.shape import (
    About,
    Built,
    clean,
    code_in,
    coded,
    decimal,
    instant,
    money,
    period,
    reference,
    subject,
)
from services.fhir.elements import Fields

_TERMS = "http://terminology.hl7.org/CodeSystem/"


def charge(fields: Fields, about: About) -> Built:
    count = decimal(fields["quantity"])
    return clean(
        resourceType="ChargeItem",
        id=fields["record_id"],
        status="billable",
        code=coded(fields),
        subject=subject(about),
        context=reference("Encounter", fields["encounter_id"]),
        occurrenceDateTime=instant(about.occurred_at),
        quantity={"value": count} if count is not None else None,
        priceOverride=money(fields["amount"], fields["currency"]),
    )


def payment(fields: Fields, about: About) -> Built:
    at = instant(about.occurred_at)
    return clean(
        resourceType="PaymentReconciliation",
        id=fields["record_id"],
        identifier=[{"value": fields["receipt_number"]}] if fields["receipt_number"] else None,
        status="active",
        created=at,
        paymentDate=at[:10] if at else None,
        paymentAmount=money(fields["amount"], fields["currency"]),
        disposition=fields["method"],
    )


def claim(fields: Fields, about: About) -> Built:
    doctor = reference("Practitioner", fields["practitioner"])
    visit = reference("Encounter", fields["encounter_id"])
    coverage = {**reference("Coverage", fields["coverage_id"]), **clean(display=fields["payer"])}
    return clean(
        resourceType="Claim",
        id=fields["record_id"],
        identifier=_numbers(fields),
        status="active",
        type_=code_in(_TERMS + "claim-type", fields["kind"]),
        use=fields["use"] or "claim",
        patient=subject(about),
        billablePeriod=period(fields["started_at"], fields["ended_at"]),
        created=instant(about.occurred_at),
        provider=doctor or reference("Organization", fields["organisation"]),
        priority=code_in(_TERMS + "processpriority", "normal"),
        diagnosis=_numbered(fields["diagnosis_ids"], "diagnosisReference", "Condition"),
        procedure=_numbered(fields["procedure_ids"], "procedureReference", "Procedure"),
        insurance=[{"sequence": 1, "focal": True, "coverage": coverage}] if coverage else None,
        item=[_item(item, fields, visit) for item in fields["items"]],
        total=money(fields["amount"], fields["currency"]),
    )


def _numbers(fields: Fields) -> list[Built]:
    named = (("claim", fields["claim_number"]), ("sep", fields["sep_number"]))
    return [{"system": f"urn:rekam:{name}-number", "value": value} for name, value in named if value]


def _numbered(ids: list[str], member: str, kind: str) -> list[Built]:
    return [{"sequence": n, member: reference(kind, held)} for n, held in enumerate(ids, 1)]


def _item(item: Fields, fields: Fields, visit: Built) -> Built:
    return clean(
        sequence=item["sequence"],
        productOrService=coded(item),
        net=money(item["amount"], fields["currency"]),
        encounter=[visit] if visit else None,
    )


def explanation_of_benefit(fields: Fields, about: About) -> Built:
    currency = fields["currency"]
    totals = (("submitted", "submitted_amount"), ("benefit", "approved_amount"), ("copay", "patient_amount"))
    paid = money(fields["paid_amount"], currency)
    return clean(
        resourceType="ExplanationOfBenefit",
        id=fields["record_id"],
        status="active",
        use="claim",
        patient=subject(about),
        created=instant(about.occurred_at),
        insurer={"display": fields["payer"]} if fields["payer"] else None,
        claim=reference("Claim", fields["claim_id"]),
        outcome=fields["outcome"],
        disposition=fields["disposition"],
        total=[
            {"category": code_in(_TERMS + "adjudication", name), "amount": money(fields[member], currency)}
            for name, member in totals
            if fields[member] is not None
        ],
        payment={"amount": paid} if paid else None,
    )
