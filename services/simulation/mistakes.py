"""A human error, to practise on: somebody marks many records as entered in error that were right.

It is made of the same events that a real mistake is made of, so nothing but a recovery takes it back whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from events.codec import encode_event
from events.envelope import Epoch, Event, EventId, derive_id
from events.log import Entry, EventLog
from events.position import EVENTS
from events.rules import EMPTY, Head
from projections.store import Tables
from services.simulation.payloads import entered_in_error
from services.simulation.writing import Heads, newest_epoch

KINDS = {
    "observations": "observation",
    "diagnoses": "diagnosis",
    "laboratory_results": "laboratory_result",
    "prescriptions": "prescription",
    "encounters": "encounter",
}
"""table -> kind of its records, in the order in which they are spoilt."""
BATCH_EVENTS = 1_000
ACTOR = {"id": "trainee", "role": "registrar", "system": "simulation"}


class Victim(NamedTuple):
    """A record that stands, and the event that set it."""

    stream: str
    kind: str
    record_id: str
    event_id: EventId


def victims(tables: Tables, count: int) -> list[Victim]:
    """The first `count` records that nobody has voided, or as many as there are."""

    def standing() -> Iterator[Victim]:
        for name, kind in KINDS.items():
            for stream, record_id, _, voided_by, event_id, *_ in tables.all_rows(name):
                if voided_by is None:
                    yield Victim(stream, kind, record_id, event_id)

    with tables.reading():
        return list(islice(standing(), count))


def mistakes(found: Collection[Victim], heads: Heads, epoch: Epoch | None, at: int) -> list[Event]:
    """One EnteredInError for each, decided on where its stream stands. `at`: microseconds UTC."""
    standing: Mapping[str, Head] = heads({victim.stream for victim in found})
    now = dict(standing)
    events = []
    for victim in found:
        head = now.get(victim.stream, EMPTY)
        event = _mistake(victim, head, epoch, at)
        now[victim.stream] = Head(event.version, event.event_id)
        events.append(event)
    return events


def write_mistakes(log: EventLog, tables: Tables, count: int, at: int) -> int:
    """Appends them; gives how many. `tables` must stand at the log's end."""
    events = mistakes(victims(tables, count), tables.heads, newest_epoch(log), at)
    for start in range(0, len(events), BATCH_EVENTS):
        batch = events[start : start + BATCH_EVENTS]
        log.append(EVENTS, [Entry(event.stream.encode(), encode_event(event)) for event in batch])
    return len(events)


def _mistake(victim: Victim, head: Head, epoch: Epoch | None, at: int) -> Event:
    return Event(
        derive_id("mistake", victim.stream, victim.kind, victim.record_id, victim.event_id, epoch),
        epoch,
        victim.stream,
        head.version + 1,
        head.last,
        at,
        at,
        ACTOR,
        None,
        None,
        entered_in_error(victim.kind, victim.record_id, victim.event_id, "Salah pasien"),
    )
