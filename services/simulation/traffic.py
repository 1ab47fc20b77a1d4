"""The simulated clinic's traffic as a pure generator of events in log order.

The clinic opens six days a week; every day has visits, spread over its hours, and what falls due (late results,
insurers' decisions, corrections). A day's drafts are put in the order of recording, given their versions, and
yielded. A small share of records is what concurrent and retrying writers leave on a log, and must not apply:

- an event once more, at once or much later (a retry whose first try did arrive);
- an event decided on a state that was no longer the stream's last, followed by itself decided anew.

The same arguments give the same events, byte for byte; a longer run begins with the shorter one, as long as there
are at most EVENTS_PER_PATIENT events a patient (beyond that, visits come more often instead of lasting for ever).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from events.envelope import Epoch, Event, stream_name
from events.errors import BadInput
from services.simulation import payloads_billing as make
from services.simulation.desk import DAY, HOUR, MINUTE, SECOND, Desk, Draft
from services.simulation.identity import medical_record_number
from services.simulation.people import (
    FIRST_DAY,
    INSURED_SHARE,
    Person,
    contact,
    corrected_registration,
    coverage,
    patient_stream,
    registration,
)
from services.simulation.staff import Staff, open_clinic
from services.simulation.visits import visit

EVENTS_PER_PATIENT = 60
VISITS_PER_PATIENT_DAY = 0.7 / 313
"""Seven visits in ten years, on the 313 days a year that the clinic is open: events spread over about five years."""
SUNDAY = 6
OPENS_UTC = 1 * HOUR
"""08:00 in Jakarta."""
OPEN_HOURS = 7
NEW_SHARE = 0.7
"""Of the visits, as long as not everybody is registered: everybody is after about 25 events a patient."""
TWICE_SHARE = 0.02
UNMERGED_SHARE = 0.15
CORRECTED_SHARE = 0.02
MOVED_SHARE = 0.01
STRAY_SHARE = 0.004
LATE_RETRY_EVERY = 997
"""Every so many events one is kept, and sent again this many events later."""

_EPOCH_DAY = int(datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC).timestamp()) * SECOND


def simulate(patients: int, events: int, seed: int, *, epoch: Epoch | None = None) -> Iterator[Event]:
    """Exactly `events` events of a clinic with up to `patients` patients, in log order.

    All of them have come after about 25 events a patient; a shorter run meets fewer.

    `epoch` is what each names as the newest rewind its writer had seen. Raises BadInput for numbers below their
    least (1 patient, 0 events, seed 0).
    """
    if patients < 1 or events < 0 or seed < 0:
        raise BadInput("a simulation needs at least 1 patient, 0 events and seed 0", "give larger numbers")
    return islice(_traffic(patients, events, seed, epoch), events)


def clinic_stream(seed: int) -> str:
    """The stream of the simulated clinic itself: its own, so that it never meets a real clinic's numbers."""
    return stream_name("clinic", "simulation", str(seed))


def _traffic(patients: int, events: int, seed: int, epoch: Epoch | None) -> Iterator[Event]:
    desk = Desk(seed, clinic_stream(seed))
    busy = max(1.0, events / (patients * EVENTS_PER_PATIENT))
    pace = patients * VISITS_PER_PATIENT_DAY * busy
    writers = _Writers(desk, epoch)
    people: list[Person] = []
    owed = 1.0
    staff: Staff | None = None
    while True:
        desk.opened_at = _EPOCH_DAY + desk.day * DAY + OPENS_UTC
        if (FIRST_DAY + timedelta(days=desk.day)).weekday() != SUNDAY:
            staff = staff or open_clinic(desk)
            desk.do_due()
            owed += pace
            for _ in range(int(owed)):
                _one_visit(desk, staff, people, patients)
            owed -= int(owed)
            yield from writers.write(desk.take_drafts())
        desk.day += 1


def _one_visit(desk: Desk, staff: Staff, people: list[Person], patients: int) -> None:
    draw = desk.draw
    desk.begin_work()
    at = desk.opened_at + int(draw() * OPEN_HOURS * HOUR)
    if len(people) < patients and (not people or draw() < NEW_SHARE):
        person = _register(desk, staff, len(people), at)
        people.append(person)
        at += 5 * MINUTE
        if draw() < TWICE_SHARE:
            desk.later(1 + int(draw() * 40), _register_again, staff, person)
    else:
        # Some come often: the earlier somebody registered, the more.
        person = people[int(draw() ** 1.5 * len(people))]
        if draw() < MOVED_SHARE:
            _move(desk, staff, person, at - MINUTE)
    visit(desk, staff, person, at)


def _register(desk: Desk, staff: Staff, index: int, at: int, again: bool = False) -> Person:
    draw = desk.draw
    registrar = staff.registrars[int(draw() * len(staff.registrars))].actor
    sequence = desk.number("medical-record")
    number = medical_record_number(sequence)
    person = Person(patient_stream(desk.seed, index, again), index, number, draw() < INSURED_SHARE)
    reserved = make.number_reserved("medical-record", sequence, number, person.name, None)
    desk.draft(desk.clinic, at, registrar, reserved)
    fields = registration(desk.seed, index, number, person.insured)
    person.registration = desk.draft(person, at, registrar, make.registered(fields))
    if draw() < CORRECTED_SHARE:
        desk.later(1 + int(draw() * 30), _correct, staff, person)
    return person


def _correct(desk: Desk, staff: Staff, person: Person) -> None:
    registrar = staff.registrars[0].actor
    assert person.registration is not None, "a correction falls due after its registration"
    fields = corrected_registration(registration(desk.seed, person.index, person.number, person.insured))
    corrected = make.corrected(fields, person.registration, "Sesuai KTP")
    desk.draft(person, desk.opened_at + int(desk.draw() * HOUR), registrar, corrected)


def _move(desk: Desk, staff: Staff, person: Person, at: int) -> None:
    """A new telephone number, or another insurance."""
    registrar = staff.registrars[0].actor
    index = person.index
    if desk.draw() < 0.6:
        changed = make.contacts_changed([{**contact(index + 500_000), "use": "home"}, contact(index)])
    else:
        person.insured = not person.insured
        reason = "Mulai menjadi peserta BPJS" if person.insured else "Kepesertaan tidak aktif"
        changed = make.coverages_changed([coverage(index, person.insured)], reason)
    desk.draft(person, at, registrar, changed)


def _register_again(desk: Desk, staff: Staff, person: Person) -> None:
    """Somebody is registered a second time, seen under the new number, and merged into the first weeks later."""
    at = desk.opened_at + int(desk.draw() * 3 * HOUR)
    double = _register(desk, staff, person.index, at, again=True)
    visit(desk, staff, double, at + 5 * MINUTE)
    desk.later(3 + int(desk.draw() * 30), _merge, staff, double, person)


def _merge(desk: Desk, staff: Staff, double: Person, survivor: Person) -> None:
    registrar = staff.registrars[0].actor
    at = desk.opened_at + int(desk.draw() * HOUR)
    event_id = desk.draft(double, at, registrar, make.merged(survivor.name))
    if desk.draw() < UNMERGED_SHARE:
        desk.later(10, _unmerge, staff, double, survivor, event_id)


def _unmerge(desk: Desk, staff: Staff, double: Person, survivor: Person, merge: bytes) -> None:
    at = desk.opened_at + int(desk.draw() * HOUR)
    desk.draft(double, at, staff.registrars[0].actor, make.unmerged(survivor.name, merge))


class _Writers:
    """Gives drafts their versions, and leaves on the log what writers at once and again leave there."""

    def __init__(self, desk: Desk, epoch: Epoch | None) -> None:
        self._draw = desk.draw
        self._epoch = epoch
        self._written = 0
        self._kept: Event | None = None

    def write(self, drafts: list[Draft]) -> Iterator[Event]:
        draw, epoch = self._draw, self._epoch
        for recorded_at, _, thread, occurred_at, event_id, actor, work, payload in drafts:
            chance = draw()
            times = (occurred_at, recorded_at)
            if chance < STRAY_SHARE / 2 and thread.version > 1:
                # Decided on what stood before the stream's last event: a conflict, then decided anew below.
                stale = (thread.name, thread.version, thread.before)
                yield Event(event_id, epoch, *stale, *times, actor, work, None, payload)
            thread.before = thread.last
            thread.last = event_id
            thread.version += 1
            place = (thread.name, thread.version, thread.before)
            event = Event(event_id, epoch, *place, *times, actor, work, None, payload)
            yield event
            if chance > 1 - STRAY_SHARE / 2:
                yield event
            self._written += 1
            if self._written % LATE_RETRY_EVERY == 0:
                if self._kept is not None:
                    yield self._kept
                self._kept = event
