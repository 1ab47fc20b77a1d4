"""Charges, payments and insurance claims of the simulated clinic, in rupiah.

A member of the national insurance (BPJS) pays nothing: the visit becomes a claim, which is adjudicated after one to
three weeks and finalised after another, and sometimes opened again. Everybody else pays at the desk.
"""

from __future__ import annotations

from collections.abc import Sequence

from events.envelope import EventId
from services.simulation import payloads_billing as make
from services.simulation.desk import HOUR, MINUTE, Actor, Desk
from services.simulation.people import Person
from services.simulation.staff import Staff

CHARGE_VOIDED_SHARE = 0.012
PAYMENT_VOIDED_SHARE = 0.006
CLAIM_CUT_SHARE = 0.1
CLAIM_UNFINALISED_SHARE = 0.04
METHODS = ["cash", "cash", "cash", "qris", "qris", "debit", "transfer"]
GROUPS = ["Q-5-44-0", "Q-5-42-0", "Q-5-35-0", "Q-5-18-0"]
"""INA-CBG groups of outpatient visits."""


def bill(
    desk: Desk,
    staff: Staff,
    person: Person,
    encounter_id: str,
    practitioner: str,
    diagnosis_ids: list[str],
    items: Sequence[tuple[str, int]],
    at: int,
) -> None:
    """Charges each item (text, rupiah), then asks the payer or the patient for what was not voided."""
    draw = desk.draw
    cashier = staff.cashiers[int(draw() * len(staff.cashiers))].actor
    claim_id = person.next_record() if person.insured else None
    invoice = None if person.insured else _invoice(desk, person, encounter_id, cashier, at)
    total = 0
    for text, amount in items:
        record_id = person.next_record()
        charged = make.charge(record_id, encounter_id, text, amount, invoice, claim_id)
        event_id = desk.draft(person, at + MINUTE, cashier, charged)
        if draw() < CHARGE_VOIDED_SHARE:
            desk.draft(person, at + 2 * MINUTE, cashier, make.charge_voided(record_id, event_id))
        else:
            total += amount
    if claim_id is not None:
        _claim(desk, person, cashier, claim_id, encounter_id, practitioner, diagnosis_ids, total, at)
    elif invoice is not None and total:
        _payment(desk, person, cashier, encounter_id, invoice, total, at)


def _invoice(desk: Desk, person: Person, encounter_id: str, actor: Actor, at: int) -> str:
    sequence = desk.number("invoice")
    number = f"INV-{sequence:07d}"
    reserved = make.number_reserved("invoice", sequence, number, person.name, encounter_id)
    desk.draft(desk.clinic, at, actor, reserved)
    return number


def _payment(
    desk: Desk, person: Person, actor: Actor, encounter_id: str, invoice: str, total: int, at: int
) -> None:
    record_id = person.next_record()
    receipt = f"KW-{desk.number('receipt'):07d}"
    method = METHODS[int(desk.draw() * len(METHODS))]
    paid = make.payment(record_id, encounter_id, total, method, invoice, receipt)
    event_id = desk.draft(person, at + 5 * MINUTE, actor, paid)
    if desk.draw() < PAYMENT_VOIDED_SHARE:
        desk.draft(person, at + 8 * MINUTE, actor, make.payment_voided(record_id, event_id))


def _claim(
    desk: Desk,
    person: Person,
    actor: Actor,
    claim_id: str,
    encounter_id: str,
    practitioner: str,
    diagnosis_ids: list[str],
    total: int,
    at: int,
) -> None:
    draw = desk.draw
    sep = f"0001R001{desk.number('sep'):011d}"
    group = GROUPS[int(draw() * len(GROUPS))]
    claim = make.claim(claim_id, encounter_id, sep, group, diagnosis_ids, total, practitioner)
    desk.draft(person, at + 10 * MINUTE, actor, claim)
    granted = total if draw() >= CLAIM_CUT_SHARE else total * 8 // 10
    desk.later(7 + int(draw() * 14), _adjudicate, person, actor, claim_id, total, granted)


def _adjudicate(desk: Desk, person: Person, actor: Actor, claim_id: str, asked: int, granted: int) -> None:
    at = _office_hours(desk)
    decided = make.adjudication(person.next_record(), claim_id, asked, granted)
    desk.draft(person, at, actor, decided)
    desk.later(2 + int(desk.draw() * 5), _finalise, person, actor, claim_id, granted, True)


def _finalise(desk: Desk, person: Person, actor: Actor, claim_id: str, paid: int, may_reopen: bool) -> None:
    finalised = make.claim_finalised(claim_id, paid)
    event_id = desk.draft(person, _office_hours(desk), actor, finalised)
    if may_reopen and desk.draw() < CLAIM_UNFINALISED_SHARE:
        desk.later(5, _unfinalise, person, actor, claim_id, paid, event_id)


def _unfinalise(desk: Desk, person: Person, actor: Actor, claim_id: str, paid: int, target: EventId) -> None:
    desk.draft(person, _office_hours(desk), actor, make.claim_unfinalised(claim_id, target))
    desk.later(3, _finalise, person, actor, claim_id, paid, False)


def _office_hours(desk: Desk) -> int:
    return desk.opened_at + int(desk.draw() * 6 * HOUR)
