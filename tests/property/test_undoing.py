"""An undo brings a patient's rows back, whatever was done since, and says of the rest that it stays."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import decode_event, encode_event
from events.envelope import Event
from projections.record_tables import STATE
from services.undoing.acting import without
from services.undoing.compensating import with_real_ids
from services.undoing.planning import Plan, plan_undo
from services.undoing.staying import OTHER
from tests.edits import ACTORS, Edit, as_events, histories
from tests.examples import examples
from tests.undone import RECORDS, compare, folded

STREAM = "patient-1"
MADE = "made-"


def carried_out(events: list[Event], plan: Plan) -> list[Event]:
    """The history with what was planned, each value as it would be written and read."""
    found, real = list(events), {}
    for number, step in enumerate(plan.steps):
        event_id = f"{MADE}{number:011}".encode()
        payload = with_real_ids(step, real)
        named = [payload[1].get(field) for field in ("corrects", "target", "merge")]
        assert {*filter(None, named)} <= {event.event_id for event in found}, "names what is not on the log"
        real[step.planned_id] = event_id
        at = 1 if step.occurred_at is None else step.occurred_at
        cause = step.cause and real.get(step.cause, step.cause)
        who = {"id": "operator", "role": "operator", "system": "test"}
        event = Event(
            event_id,
            None,
            STREAM,
            found[-1].version + 1,
            found[-1].event_id,
            at,
            0,
            who,
            None,
            cause,
            payload,
        )
        assert decode_event(encode_event(event)) == event
        found.append(event)
    return found


@settings(max_examples=examples(400))
@given(histories(14), st.integers(1, 13))
def test_after_an_undo_the_rows_are_those_of_then(edits: list[Edit], cut: int) -> None:
    events = as_events(STREAM, edits)
    then = events[:cut]
    plan = plan_undo(STREAM, then, events, "why")
    assert not [stays for stays in plan.stays if stays.why == OTHER]
    after = carried_out(events, plan)
    compare(folded(then), folded(after), plan)
    again = plan_undo(STREAM, then, after, "why")
    assert again.steps == [] and {s for s in again.stays if s.kind != "number"} == {
        s for s in plan.stays if s.kind != "number"
    }


@settings(max_examples=examples(160))
@given(histories(14), st.integers(1, 13), st.sampled_from(ACTORS))
def test_what_one_actor_did_is_undone_and_what_others_did_stands(
    edits: list[Edit], cut: int, actor: str
) -> None:
    events = as_events(STREAM, edits)
    wanted = without(actor, events[:cut], events)
    plan = plan_undo(STREAM, wanted, events, "why")
    assert not [stays for stays in plan.stays if stays.why == OTHER]
    after = carried_out(events, plan)
    compare(folded(wanted), folded(after), plan)
    assert plan_undo(STREAM, without(actor, events[:cut], after), after, "why").steps == []


@settings(max_examples=examples(160))
@given(histories(14), st.integers(1, 13), st.integers(0, 12))
def test_an_undo_that_was_stopped_goes_on(edits: list[Edit], cut: int, stop: int) -> None:
    events = as_events(STREAM, edits)
    plan = plan_undo(STREAM, events[:cut], events, "why")
    part = carried_out(events, plan)[: len(events) + stop]
    rest = plan_undo(STREAM, events[:cut], part, "why")
    after = [*part, *carried_out(part, rest)[len(part) :]]
    compare(folded(events[:cut]), folded(after), rest)


def test_the_tables_of_a_patient_are_all_compared() -> None:
    clinics = {"organisations", "locations", "practitioners", "numbers", "settings"}
    staffs = {name for name in STATE.tables if name.startswith("staff")}
    compared = {*RECORDS, "identifiers", "contacts", "coverages", "patients", "resources", "claims"}
    assert set(STATE.tables) == compared | clinics | staffs | {"restrictions", "merges"}
