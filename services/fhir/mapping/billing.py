"""Claim -> ClaimSubmitted; ExplanationOfBenefit -> ClaimAdjudicated.

Amounts are decimal text exactly as given (27.200000000000003 stays so); totals in mixed currencies are not guessed
at: the currency is that of the total.
"""

from __future__ import annotations

from services.fhir import elements
from services.fhir.elements import Fields, each, member, text
from services.fhir.mapping.shape import Mapped, Resource
from services.fhir.references import Naming

MAX_SEQUENCE = 2**31 - 1


def claim(resource: Resource, naming: Naming) -> Mapped:
    amount, currency = elements.money(resource.get("total"))
    started, ended = elements.period(resource.get("billablePeriod"))
    coverage = _coverage(resource)
    provider = resource.get("provider")
    fields = {
        "record_id": resource["id"],
        "encounter_id": _encounter(resource, naming),
        "claim_number": None,
        "sep_number": None,
        "group_code": None,
        "kind": elements.code(resource.get("type")),
        "use": text(resource, "use"),
        "payer": text(coverage, "display") or text(resource.get("insurer"), "display"),
        "coverage_id": naming.name(coverage, "Coverage"),
        "diagnosis_ids": _named(resource, naming, "diagnosis", "diagnosisReference", "Condition"),
        "procedure_ids": _named(resource, naming, "procedure", "procedureReference", "Procedure"),
        "items": [_item(n, item) for n, item in enumerate(each(resource, "item"), 1)],
        "amount": amount,
        "currency": currency,
        "started_at": started,
        "ended_at": ended,
        "practitioner": naming.name(provider, "Practitioner"),
        "organisation": naming.name(provider, "Organization"),
    }
    when = elements.earliest_named(resource, "created", "billablePeriod")
    return Mapped("billing.ClaimSubmitted", fields, when)


def _coverage(resource: Resource) -> object:
    """The coverage that is drawn on: the focal one, else the first."""
    insurances = each(resource, "insurance")
    focal = next((i for i in insurances if i.get("focal") is True), insurances[0] if insurances else {})
    return focal.get("coverage")


def _encounter(resource: Resource, naming: Naming) -> str | None:
    references = (reference for item in each(resource, "item") for reference in each(item, "encounter"))
    return naming.first(references, "Encounter")


def _named(resource: Resource, naming: Naming, name: str, reference: str, kind: str) -> list[str]:
    names = (naming.name(part.get(reference), kind) for part in each(resource, name))
    return [found for found in names if found]


def _item(position: int, item: Resource) -> Fields:
    sequence = item.get("sequence")
    whole = isinstance(sequence, int) and not isinstance(sequence, bool) and 0 < sequence <= MAX_SEQUENCE
    return {
        "sequence": sequence if whole else position,
        **elements.coded(item.get("productOrService")),
        "amount": elements.money(item.get("net"))[0],
    }


def explanation_of_benefit(resource: Resource, naming: Naming) -> Mapped | None:
    """None where it names no claim: there is nothing to adjudicate."""
    claim_id = naming.name(resource.get("claim"), "Claim")
    if claim_id is None:
        return None
    totals = _totals(resource)
    paid, paid_currency = elements.money(member(resource, "payment").get("amount"))
    submitted, currency = totals.get("submitted", (None, None))
    fields = {
        "record_id": resource["id"],
        "claim_id": claim_id,
        "outcome": text(resource, "outcome") or "queued",
        "disposition": text(resource, "disposition"),
        "payer": text(resource.get("insurer"), "display") or text(_coverage(resource), "display"),
        "submitted_amount": submitted,
        "approved_amount": totals.get("benefit", (None, None))[0],
        "patient_amount": totals.get("copay", (None, None))[0],
        "paid_amount": paid,
        "currency": currency or paid_currency,
    }
    when = elements.earliest_named(resource, "created")
    return Mapped("billing.ClaimAdjudicated", fields, when)


def _totals(resource: Resource) -> dict[str, tuple[str | None, str | None]]:
    """(amount, currency) by adjudication category."""
    totals: dict[str, tuple[str | None, str | None]] = {}
    for total in each(resource, "total"):
        if category := elements.code(total.get("category")):
            totals.setdefault(category, elements.money(total.get("amount")))
    return totals
