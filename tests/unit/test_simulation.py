"""The simulated clinic: deterministic, self-consistent, and like a clinic."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice

import pytest

from events.codec import decode_event, decode_events, encode_event
from events.envelope import Event
from events.errors import BadInput
from events.payloads import MODELS
from events.rules import EMPTY, Head, Verdict, judge_version
from services.simulation.traffic import EVENTS_PER_PATIENT, simulate

EVENTS = 12_000
PATIENTS = 220


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(simulate(PATIENTS, EVENTS, 7))


def judged(events: list[Event]) -> list[tuple[Event, Verdict]]:
    """Each event with its verdict by the version rule."""
    heads: dict[str, Head] = {}
    applied: set[tuple[str, int, bytes]] = set()
    verdicts = []
    for event in events:
        head = heads.get(event.stream, EMPTY)
        verdict = judge_version(head, event, (event.stream, event.version, event.event_id) in applied)
        if verdict == Verdict.APPLIED:
            heads[event.stream] = Head(event.version, event.event_id)
            applied.add((event.stream, event.version, event.event_id))
        verdicts.append((event, verdict))
    return verdicts


def test_the_same_seed_makes_the_same_bytes_and_another_does_not(events: list[Event]) -> None:
    again = [encode_event(event) for event in simulate(PATIENTS, EVENTS, 7)]
    assert again == [encode_event(event) for event in events]
    other = {event.event_id for event in simulate(PATIENTS, 500, 8)}
    assert not other & {event.event_id for event in events}


def test_it_makes_exactly_as_many_events_as_asked() -> None:
    assert [len(list(simulate(3, count, 1))) for count in (0, 1, 777)] == [0, 1, 777]


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    longer = simulate(100, 100 * EVENTS_PER_PATIENT, 3)
    assert list(islice(longer, 4_000)) == list(simulate(100, 4_000, 3))


def test_numbers_below_the_least_are_refused() -> None:
    for arguments in ((0, 10, 1), (1, -1, 1), (1, 1, -1)):
        with pytest.raises(BadInput):
            simulate(*arguments)


def test_every_event_is_what_its_bytes_say(events: list[Event]) -> None:
    values = [encode_event(event) for event in events]
    assert decode_events(values) == events
    assert decode_event(values[-1]) == events[-1]


def test_every_payload_would_be_let_in(events: list[Event]) -> None:
    for name, fields in {event.event_id: event.payload for event in events}.values():
        assert MODELS[name].model_validate(fields).to_payload() == (name, fields)


def test_events_are_about_250_bytes(events: list[Event]) -> None:
    sizes = [len(encode_event(event)) for event in events]
    assert 215 <= sum(sizes) / len(sizes) <= 285


def test_all_apply_but_for_a_small_share_of_duplicates_and_conflicts(events: list[Event]) -> None:
    verdicts = Counter(verdict for _, verdict in judged(events))
    strays = EVENTS - verdicts[Verdict.APPLIED]
    assert set(verdicts) == {Verdict.APPLIED, Verdict.DUPLICATE, Verdict.CONFLICT}
    assert 0.001 * EVENTS < strays < 0.02 * EVENTS


def test_what_a_conflict_lost_is_decided_anew(events: list[Event]) -> None:
    verdicts = defaultdict(set)
    for event, verdict in judged(events):
        verdicts[event.event_id].add(verdict)
    assert all(Verdict.APPLIED in found for found in verdicts.values())


def test_what_an_event_refers_to_happened_before_it_in_its_stream(events: list[Event]) -> None:
    seen: dict[str, set[bytes]] = defaultdict(set)
    referring = 0
    for event, verdict in judged(events):
        if verdict != Verdict.APPLIED:
            continue
        fields = event.payload[1]
        for name in ("corrects", "target", "merge"):
            if fields.get(name) is not None:
                referring += 1
                assert fields[name] in seen[event.stream], f"{event.type}: {name} names nothing before it"
        seen[event.stream].add(event.event_id)
    assert referring > 500


def test_record_ids_are_unique_within_a_stream_unless_they_refer(events: list[Event]) -> None:
    made = Counter(
        (event.stream, event.payload[1]["record_id"])
        for event, verdict in judged(events)
        if verdict == Verdict.APPLIED
        and "record_id" in event.payload[1]
        and not event.payload[1].get("corrects")
        and event.type.split(".")[1]
        not in ("EnteredInError", "ChargeVoided", "PaymentVoided", "ClaimFinalised", "ClaimUnfinalised")
    )
    assert made.most_common(1)[0][1] == 1


def test_time_is_told_twice_and_never_runs_back(events: list[Event]) -> None:
    applied = [event for event, verdict in judged(events) if verdict == Verdict.APPLIED]
    recorded = [event.recorded_at for event in applied]
    assert recorded == sorted(recorded)
    assert all(event.occurred_at < event.recorded_at for event in applied)
    late = [e for e in applied if e.recorded_at - e.occurred_at > 30 * 60 * 1_000_000]
    assert late, "nothing was written up late"


def test_everything_that_a_clinic_does_happens(events: list[Event]) -> None:
    types = Counter(event.type for event in simulate(PATIENTS, 60_000, 7))
    for name in (
        "registration.PatientRegistered",
        "registration.PatientCorrected",
        "registration.ContactsChanged",
        "registration.CoverageChangedV2",
        "registration.PatientMerged",
        "care.EnteredInError",
        "care.NoteAmended",
        "care.ImmunisationGiven",
        "care.MedicationAdministered",
        "laboratory.LaboratoryResultCorrected",
        "billing.ChargeVoided",
        "billing.PaymentVoided",
        "billing.ClaimUnfinalised",
        "clinic.NumberReserved",
        "staff.StaffRoleGranted",
    ):
        assert types[name], f"no {name}"
    assert types["registration.PatientRegistered"] >= PATIENTS


def test_a_medical_record_number_is_reserved_before_it_is_used(events: list[Event]) -> None:
    reserved: dict[str, str] = {}
    used: list[str] = []
    for event in events:
        name, fields = event.payload
        if name.endswith("NumberReserved") and fields["series"] == "medical-record":
            reserved[fields["number"]] = fields["subject"]
        elif name.endswith("PatientRegistered"):
            assert reserved[fields["medical_record_number"]] == event.stream
            used.append(fields["medical_record_number"])
    assert len(set(used)) >= 200


def test_a_written_up_result_is_late_at_times(events: list[Event]) -> None:
    ordered = {
        (event.stream, event.payload[1]["record_id"]): event.recorded_at
        for event in events
        if event.type == "laboratory.LaboratoryOrdered"
    }
    waited = [
        event.recorded_at - ordered[event.stream, event.payload[1]["order_id"]]
        for event in events
        if event.type == "laboratory.LaboratoryResulted"
    ]
    day = 24 * 3600 * 1_000_000
    assert 0.1 < sum(wait > day / 2 for wait in waited) / len(waited) < 0.6
