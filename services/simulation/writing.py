"""Puts a simulation on a log, in batches, so that it can be stopped anywhere and begun again.

A second run with the same arguments adds nothing: what a stream's head already covers is skipped. That makes the
first event that the log lacks the place to go on from. Events are written in the newest epoch; after a recovery that
set some aside, the same simulation writes those again, and now they apply.

Beside the events, every ACCESS_EVERY-th of them leaves an access event (somebody looked at, or printed, the record)
in the simulation's own access stream. A batch's access events are written first: a writer that dies in between
writes them twice, which readers see to be duplicates, instead of leaving a hole in that stream's versions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from events.codec import encode_event
from events.control import NOTHING_KNOWN, Known, rewinds_upto
from events.envelope import Epoch, Event, derive_id, stream_name
from events.errors import Refused, SetAside
from events.log import Entry, EventLog
from events.position import ACCESS, EVENTS
from events.rules import EMPTY, Effect, Head
from events.sealing import IN_THE_CLEAR, Encoder
from services.simulation import payloads_billing as make

BATCH_EVENTS = 1_000
ACCESS_EVERY = 20
PRINTED_EVERY = 10
"""Every so many access events is a printed document."""
SECTIONS = ["summary", "timeline", "laboratory", "billing", "history"]

Heads = Callable[[Collection[str]], Mapping[str, Head]]
"""Where streams stand; those without an event may be left out. `projections.store.Tables.heads` is one."""


class Written(NamedTuple):
    """What one run did."""

    events: int
    """Records added to rekam.events, those that do not apply included."""
    access: int
    """Records added to rekam.access."""
    skipped: int
    """Events that were on the log before."""


def write_simulation(
    log: EventLog,
    events: Iterable[Event],
    heads: Heads,
    seed: int,
    *,
    batch_events: int = BATCH_EVENTS,
    known: Known = NOTHING_KNOWN,
    progress: Callable[[int], None] | None = None,
    encoder: Encoder = IN_THE_CLEAR,
) -> Written:
    """Appends what of `events` (from `traffic.simulate`, with the same seed) the log does not hold yet.

    `heads` must stand at the log's end. `progress` is told after each batch how many events have been dealt with.
    Raises Refused where somebody else continued a simulated stream, SetAside where a rewind came in between (the same
    simulation again writes what is missing); otherwise as `EventLog.append`.
    """
    missing = _Missing(heads)
    access = _Access(seed)
    appended = accessed = seen = 0
    written_in: set[Epoch | None] = set()
    for batch in _batches(events, batch_events):
        new = missing.of(batch)
        visits = access.of(seen, batch, missing.first)
        if visits:
            log.append(ACCESS, [_entry(event) for event in visits])
        if new:
            encoder.prepare({event.stream for event in new})
            log.append(EVENTS, [Entry(event.stream.encode(), encoder.encode(event)) for event in new])
            written_in.add(new[-1].epoch)
        seen += len(batch)
        appended += len(new)
        accessed += len(visits)
        if progress is not None:
            progress(seen)
    epoch = newest_epoch(log, known)
    if written_in and written_in != {epoch}:
        raise SetAside(
            "a recovery went back to an earlier moment while the simulation was written",
            "simulate again: what is missing then applies anew",
            epoch=epoch,
        )
    return Written(appended, accessed, seen - appended)


def newest_epoch(log: EventLog, known: Known = NOTHING_KNOWN) -> Epoch | None:
    """The epoch that a writer writes in who has read the whole control topic, or knows its beginning."""
    end = log.end()
    return Effect(rewinds_upto(log, end.control, known), end).newest


def _batches(events: Iterable[Event], size: int) -> Iterator[list[Event]]:
    iterator = iter(events)
    while batch := list(islice(iterator, size)):
        yield batch


def _entry(event: Event) -> Entry:
    return Entry(event.stream.encode(), encode_event(event))


class _Missing:
    """Picks what the log lacks, and remembers where that begins. Holds one head a stream."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._known: dict[str, Head] = {}
        self._met: set[str] = set()
        self.first: int | None = None
        """The number of the first event that the log lacked, counted from 0."""
        self._seen = 0

    def of(self, batch: list[Event]) -> list[Event]:
        known = self._known
        unknown = {event.stream for event in batch if event.stream not in known}
        if unknown:
            found = self._heads(unknown)
            known.update((stream, found.get(stream, EMPTY)) for stream in unknown)
        new = []
        for number, event in enumerate(batch, start=self._seen):
            head = known[event.stream]
            if event.version <= head.version:
                continue
            if event.stream not in self._met:
                self._met.add(event.stream)
                _refuse_foreign(event, head)
            if self.first is None:
                self.first = number
            new.append(event)
        self._seen += len(batch)
        return new


def _refuse_foreign(event: Event, head: Head) -> None:
    if event.previous != head.last or event.version != head.version + 1:
        raise Refused(
            f"{event.stream}: its version {head.version} was written by somebody else",
            "simulate with another --seed, which has patients of its own",
        )


class _Access:
    """The access events of a simulation: which, follows from the number of the event they come with."""

    def __init__(self, seed: int) -> None:
        self._seed = str(seed)
        self._stream = stream_name("access", "simulation", self._seed)
        self._patient: str | None = None

    def of(self, number: int, batch: list[Event], first: int | None) -> list[Event]:
        """Those that come with a batch whose first event has this number, from event `first` on."""
        made = []
        for index, event in enumerate(batch, start=number):
            if event.stream.startswith("patient-"):
                self._patient = event.stream
            if index % ACCESS_EVERY == ACCESS_EVERY - 1 and first is not None and index >= first:
                made.append(self._event(index // ACCESS_EVERY + 1, event, self._patient or event.stream))
        return made

    def _id(self, version: int) -> bytes:
        return derive_id("simulated access", self._seed, str(version))

    def _event(self, version: int, event: Event, patient: str) -> Event:
        if version % PRINTED_EVERY == 0:
            payload = make.printed(patient, "summary")
        else:
            payload = make.viewed(patient, SECTIONS[version % len(SECTIONS)])
        at = event.recorded_at
        return Event(
            self._id(version),
            event.epoch,
            self._stream,
            version,
            self._id(version - 1) if version > 1 else None,
            at,
            at,
            event.actor,
            None,
            None,
            payload,
        )
