"""What happens in one visit of the simulated clinic, from the waiting room to the laboratory.

Each function drafts events at rising times, so that what refers to an earlier event is recorded after it. Shares are
named constants: they say how often something happens, from 0 to 1.
"""

from __future__ import annotations

from itertools import accumulate

from events.envelope import EventId
from services.simulation import payloads as make
from services.simulation.billing import bill
from services.simulation.codes import (
    ALLERGENS,
    COMPLAINTS,
    DIAGNOSES,
    DRUGS,
    PANELS,
    PROCEDURES,
    VACCINES,
    VITALS,
    Coding,
    Measure,
)
from services.simulation.desk import DAY, HOUR, MINUTE, Actor, Desk
from services.simulation.people import Person
from services.simulation.staff import ROOMS, Member, Staff

NOTE_SHARE = 0.6
NOTE_AMENDED_SHARE = 0.03
SECOND_DIAGNOSIS_SHARE = 0.25
CHRONIC_SHARE = 0.3
"""How often a chronic diagnosis found once comes back at the next visits' top of the list."""
LABORATORY_SHARE = 0.24
LATE_RESULT_SHARE = 0.3
"""Results that come on a later day."""
RESULT_CORRECTED_SHARE = 0.02
PROCEDURE_SHARE = 0.08
IMMUNISATION_SHARE = 0.06
ALLERGY_SHARE = 0.03
ADMINISTRATION_SHARE = 0.04
VITAL_CORRECTED_SHARE = 0.012
VITAL_VOIDED_SHARE = 0.008
WRITTEN_UP_LATE_SHARE = 0.03
"""Visits whose notes were on paper first, and typed hours later."""

_WEIGHTS = list(accumulate(d.weight for d in DIAGNOSES))
_BY_WEIGHT = [next(n for n, w in enumerate(_WEIGHTS) if w > point) for point in range(_WEIGHTS[-1])]
_ROOM_IDS = [f"L{number}" for number in range(1, len(ROOMS) + 1)]


def visit(desk: Desk, staff: Staff, person: Person, at: int) -> None:
    """One visit that starts at `at`."""
    draw = desk.draw
    doctor = staff.doctors[int(draw() * len(staff.doctors))]
    nurse = staff.nurses[int(draw() * len(staff.nurses))]
    room = _ROOM_IDS[int(draw() * 5)]
    complaint = COMPLAINTS[int(draw() * len(COMPLAINTS))]
    encounter_id = person.next_record()
    opened = make.encounter(encounter_id, "in-progress", complaint, at, None, doctor.practitioner, room)
    arrival = desk.draft(person, at, nurse.actor, opened)
    _vitals(desk, person, encounter_id, nurse, at)
    now = at + 9 * MINUTE
    late = int(draw() * 4 * HOUR) if draw() < WRITTEN_UP_LATE_SHARE else 0
    if draw() < NOTE_SHARE:
        _note(desk, person, encounter_id, complaint, doctor, now, late)
    main, diagnosis_ids = _diagnoses(desk, person, encounter_id, doctor, now, late)
    services = _services(desk, staff, person, encounter_id, doctor, nurse, now)
    drugs = _prescriptions(desk, person, encounter_id, main, doctor, nurse, now, late)
    ended_at = now + 8 * MINUTE
    closed = make.encounter(
        encounter_id, "finished", complaint, at, ended_at, doctor.practitioner, room, arrival
    )
    desk.draft(person, ended_at, doctor.actor, closed, late)
    items = [("Konsultasi dokter", 50_000), *services, *([("Obat", drugs)] if drugs else [])]
    bill(desk, staff, person, encounter_id, doctor.practitioner, diagnosis_ids, items, ended_at + late)


def value_of(desk: Desk, measure: Measure) -> tuple[str, str]:
    """A measured value as text, and how it lies: N, L or H. Three draws make a bell that is good enough."""
    draw = desk.draw
    deviation = (draw() + draw() + draw() - 1.5) * 2.0
    value = measure.middle + deviation * measure.spread
    text = f"{value:.{measure.decimals}f}" if measure.decimals else str(int(value))
    return text, "N" if -1.6 <= deviation <= 1.6 else "L" if deviation < 0 else "H"


def _vitals(desk: Desk, person: Person, encounter_id: str, nurse: Member, at: int) -> None:
    draw = desk.draw
    who, actor = nurse.practitioner, nurse.actor
    for number, measure in enumerate(VITALS[: 3 + int(draw() * 6)]):
        record_id = person.next_record()
        at += 20_000_000 + number
        text, _ = value_of(desk, measure)
        event_id = desk.draft(
            person, at, actor, make.observation(record_id, encounter_id, measure, text, who)
        )
        chance = draw()
        if chance < VITAL_CORRECTED_SHARE:
            again, _ = value_of(desk, measure)
            corrected = make.observation(
                record_id, encounter_id, measure, again, who, event_id, "Salah ketik"
            )
            desk.draft(person, at + 5 * MINUTE, actor, corrected)
        elif chance < VITAL_CORRECTED_SHARE + VITAL_VOIDED_SHARE:
            voided = make.entered_in_error("observation", record_id, event_id, "Salah pasien")
            desk.draft(person, at + 6 * MINUTE, actor, voided)


def _note(
    desk: Desk, person: Person, encounter_id: str, complaint: str, doctor: Member, at: int, late: int
) -> None:
    record_id = person.next_record()
    text = f"S: {complaint} O: tanda vital dalam catatan. P: edukasi, kontrol bila perlu."
    event_id = desk.draft(
        person, at, doctor.actor, make.note(record_id, encounter_id, text, doctor.practitioner), late
    )
    if desk.draw() < NOTE_AMENDED_SHARE:
        longer = f"{text} Riwayat keluarga disangkal."
        amended = make.note_amended(record_id, longer, doctor.practitioner, event_id)
        desk.draft(person, at + 30 * MINUTE, doctor.actor, amended, late)


def _diagnoses(
    desk: Desk, person: Person, encounter_id: str, doctor: Member, at: int, late: int
) -> tuple[int, list[str]]:
    """The place of the main diagnosis in DIAGNOSES, and the record ids of all."""
    draw = desk.draw
    count = 2 if draw() < SECOND_DIAGNOSIS_SHARE else 1
    drawn = [_BY_WEIGHT[int(draw() * len(_BY_WEIGHT))] for _ in range(count)]
    if person.chronic is not None and draw() < CHRONIC_SHARE:
        drawn[0] = person.chronic
    elif DIAGNOSES[drawn[0]].chronic:
        person.chronic = drawn[0]
    record_ids = []
    for rank, place in zip(("1", "2"), drawn, strict=False):
        record_id = person.next_record()
        found = make.diagnosis(record_id, encounter_id, DIAGNOSES[place].code, rank, doctor.practitioner)
        desk.draft(person, at + 2 * MINUTE, doctor.actor, found, late)
        record_ids.append(record_id)
    return drawn[0], record_ids


def _prescriptions(
    desk: Desk,
    person: Person,
    encounter_id: str,
    main: int,
    doctor: Member,
    nurse: Member,
    at: int,
    late: int,
) -> int:
    """What the medicines cost, in rupiah."""
    diagnosis = DIAGNOSES[main]
    cost = 0
    for number in diagnosis.drugs[: 1 + int(desk.draw() * 2)]:
        drug = DRUGS[number]
        record_id = person.next_record()
        given = make.prescription(record_id, encounter_id, drug, diagnosis.code, doctor.practitioner)
        desk.draft(person, at + 5 * MINUTE, doctor.actor, given, late)
        cost += drug.price
        if desk.draw() < ADMINISTRATION_SHARE:
            taken = make.administration(
                person.next_record(), encounter_id, record_id, drug, nurse.practitioner
            )
            desk.draft(person, at + 6 * MINUTE, nurse.actor, taken, late)
    return cost


def _services(
    desk: Desk, staff: Staff, person: Person, encounter_id: str, doctor: Member, nurse: Member, at: int
) -> list[tuple[str, int]]:
    """The less common things; gives what is to be paid for them (text, rupiah)."""
    draw = desk.draw
    items: list[tuple[str, int]] = []
    if not person.allergic and draw() < ALLERGY_SHARE:
        person.allergic = True
        text, category = ALLERGENS[int(draw() * len(ALLERGENS))]
        found = make.allergy(person.next_record(), encounter_id, text, category, doctor.practitioner)
        desk.draft(person, at + MINUTE, doctor.actor, found)
    if draw() < PROCEDURE_SHARE:
        code, price = PROCEDURES[int(draw() * len(PROCEDURES))]
        done = make.procedure(person.next_record(), encounter_id, code, at, doctor.practitioner)
        desk.draft(person, at + 3 * MINUTE, doctor.actor, done)
        items.append((code["display"], price))
    if draw() < IMMUNISATION_SHARE:
        vaccine = VACCINES[int(draw() * len(VACCINES))]
        lot = f"B{int(draw() * 9000) + 1000}"
        given = make.immunisation(person.next_record(), encounter_id, vaccine, lot, nurse.practitioner)
        desk.draft(person, at + 4 * MINUTE, nurse.actor, given)
    if draw() < LABORATORY_SHARE:
        panel, measures = PANELS[int(draw() * len(PANELS))]
        _laboratory(desk, staff, person, encounter_id, doctor, panel, measures, at)
        items.append((panel["display"], 25_000 * len(measures)))
    return items


def _laboratory(
    desk: Desk,
    staff: Staff,
    person: Person,
    encounter_id: str,
    doctor: Member,
    panel: Coding,
    measures: list[Measure],
    at: int,
) -> None:
    draw = desk.draw
    order_id, specimen_id = person.next_record(), person.next_record()
    analyst = staff.laboratory[int(draw() * len(staff.laboratory))]
    ordered = make.laboratory_order(order_id, encounter_id, panel, doctor.practitioner)
    desk.draft(person, at + 3 * MINUTE, doctor.actor, ordered)
    taken = make.specimen(specimen_id, order_id, analyst.practitioner)
    desk.draft(person, at + 12 * MINUTE, analyst.actor, taken)
    arguments = (person, analyst, encounter_id, order_id, specimen_id, panel, measures)
    if draw() < LATE_RESULT_SHARE:
        desk.later(1 + int(draw() * 4), _late_results, *arguments)
    else:
        results(desk, *arguments, at + HOUR + int(draw() * 2 * HOUR))


def _late_results(
    desk: Desk,
    person: Person,
    analyst: Member,
    encounter_id: str,
    order_id: str,
    specimen_id: str,
    panel: Coding,
    measures: list[Measure],
) -> None:
    at = desk.opened_at + int(desk.draw() * HOUR)
    results(desk, person, analyst, encounter_id, order_id, specimen_id, panel, measures, at)


def results(
    desk: Desk,
    person: Person,
    analyst: Member,
    encounter_id: str,
    order_id: str,
    specimen_id: str,
    panel: Coding,
    measures: list[Measure],
    at: int,
) -> None:
    """The results of an order, one event each, and the report; now and then one is corrected two days later."""
    who, actor = analyst.practitioner, analyst.actor
    result_ids = []
    for measure in measures:
        record_id = person.next_record()
        text, interpretation = value_of(desk, measure)
        fields = make.result_fields(
            record_id, encounter_id, order_id, specimen_id, measure, text, interpretation, who
        )
        at += MINUTE
        event_id = desk.draft(person, at, actor, make.result(fields))
        result_ids.append(record_id)
        if desk.draw() < RESULT_CORRECTED_SHARE:
            desk.later(2, _correct_result, person, actor, measure, fields, event_id)
    reported = make.report(person.next_record(), encounter_id, order_id, panel, result_ids, at + MINUTE, who)
    desk.draft(person, at + MINUTE, actor, reported)


def _correct_result(
    desk: Desk, person: Person, actor: Actor, measure: Measure, fields: make.Fields, event_id: EventId
) -> None:
    text, _ = value_of(desk, measure)
    at = desk.opened_at + int(desk.draw() * DAY / 4)
    desk.draft(person, at, actor, make.result_corrected(fields, text, event_id))
