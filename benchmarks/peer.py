"""The same work by us and by the `eventsourcing` library on SQLite, in one run.

Both are measured from events as Python objects to bytes that are durable, and from bytes to Python objects; both keep
SQLite's write-ahead log with full synchronisation. Its events carry the same facts as our observations do (what is null
with us is left out there); who and when are part of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from benchmarks.harness import Bench, Figure, at_least, calls_in_turns, p50_milliseconds, timed
from benchmarks.inputs import entry, traffic_sample
from events.codec import decode_events
from events.envelope import Event
from events.position import EVENTS, Partition
from events.sqlite_log import SqliteLog
from projections.projector import project
from projections.store import open_tables

COMMITS = 300
A_COMMIT = 500
BATCHES = 20
STREAM = 1_000
PAGE = 1_000
CLINIC_EVENTS = Partition(EVENTS, 0)


def run(bench: Bench) -> list[Figure]:
    observations = [event for event in traffic_sample(bench) if event.type == "care.ObservationRecorded"]
    ours = Ours(bench.scratch("ours"), observations)
    theirs = Theirs(bench.scratch("peer"), observations)
    try:
        theirs.prepare(BATCHES * bench.runs)
        many = calls_in_turns(BATCHES * bench.runs, ours.batch, theirs.batch)
        taken = calls_in_turns(COMMITS * bench.runs, ours.single, theirs.single)
        reads = [(ours.read_all(), theirs.read_all()) for _ in range(3 * bench.runs)]
        ours.make_stream()
        theirs.make_stream()
        streams = [(ours.stream(), theirs.stream()) for _ in range(3 * bench.runs)]
    finally:
        ours.close()
        theirs.close()
    return [
        *_pair("one event a commit, p50", "ms", [_p50s(taken)], faster_is_less=True),
        *_pair(f"{A_COMMIT} events a commit", "events/s", [_rates(many)], faster_is_less=False),
        *_pair("read and decode everything", "events/s", reads, faster_is_less=False),
        *_pair(f"a stream of {STREAM:,} events, read and decoded", "ms", streams, faster_is_less=True),
    ]


def _p50s(taken: list[list[float]]) -> tuple[float, float]:
    ours, theirs = taken
    return p50_milliseconds(ours), p50_milliseconds(theirs)


def _rates(taken: list[list[float]]) -> tuple[float, float]:
    """Events a second at the median commit of many."""
    ours, theirs = taken
    return A_COMMIT / statistics.median(ours), A_COMMIT / statistics.median(theirs)


def _pair(name: str, unit: str, pairs: list[tuple[float, float]], *, faster_is_less: bool) -> list[Figure]:
    """Both figures, and how far we are ahead (above 1)."""
    mine = statistics.median(mine for mine, _ in pairs)
    peer = statistics.median(peer for _, peer in pairs)
    ahead = peer / mine if faster_is_less else mine / peer
    return [
        Figure(name, mine, unit),
        Figure(f"  eventsourcing: {name}", peer, unit),
        Figure("  ahead", ahead, "x", at_least(1.0)),
    ]


class Ours:
    """Rekam: the embedded log, and for one stream the tables' journal."""

    def __init__(self, folder: Path, events: Sequence[Event]) -> None:
        self.folder = folder
        self.log = SqliteLog(folder / "log.db", create=True)
        self.events = events

    def _event(self, number: int) -> Event:
        return self.events[number % len(self.events)]

    def single(self, number: int) -> None:
        self.log.append(EVENTS, [entry(self._event(number))])

    def batch(self, number: int) -> None:
        start = number * A_COMMIT
        self.log.append(EVENTS, [entry(self._event(start + n)) for n in range(A_COMMIT)])

    def read_all(self) -> float:
        end = self.log.end()[CLINIC_EVENTS]

        def read() -> None:
            for batch in self.log.read(CLINIC_EVENTS, 0, end):
                decode_events([record.value for record in batch])

        return end / timed(read)

    def make_stream(self) -> None:
        """One patient's stream of 1,000 events on a log of its own, projected."""
        self._stream_log = SqliteLog(self.folder / "stream.db", create=True)
        events = _as_one_stream(self.events)
        self._stream = events[0].stream
        self._stream_log.append(EVENTS, [entry(event) for event in events])
        self._tables = open_tables(f"sqlite:{self.folder / 'tables.db'}", create=True)
        project(self._stream_log, self._tables)

    def stream(self) -> float:
        found: list[object] = []

        def read() -> None:
            rows = self._tables.journal_values(self._stream)
            found.extend(decode_events([row.value for row in rows]))

        seconds = timed(read)
        assert len(found) == STREAM, "the stream is not whole"
        return seconds * 1000

    def close(self) -> None:
        self.log.close()
        if hasattr(self, "_tables"):
            self._tables.close()
            self._stream_log.close()


def _as_one_stream(events: Sequence[Event]) -> list[Event]:
    """Observations, as if they were all one patient's."""
    clinical = [events[number % len(events)] for number in range(STREAM)]
    stream = clinical[0].stream
    ids = [version.to_bytes(16, "big") for version in range(1, STREAM + 1)]
    return [
        found._replace(event_id=ids[n], stream=stream, version=n + 1, previous=ids[n - 1] if n else None)
        for n, found in enumerate(clinical)
    ]


class Record(Aggregate):  # type: ignore[misc]  # the library is not typed for us
    """A patient's record, as that library would have it."""

    def __init__(self) -> None:
        self.count = 0

    @event("Observed")  # type: ignore[untyped-decorator]  # as above
    def observe(
        self,
        record_id: str,
        encounter_id: str,
        status: str,
        category: str,
        system: str,
        code: str,
        display: str,
        value: str,
        unit: str,
        practitioner: str,
        actor_id: str,
        actor_role: str,
        actor_system: str,
        occurred_at: int,
        recorded_at: int,
    ) -> None:
        self.count += 1


def _facts(event: Event) -> dict[str, Any]:
    """The arguments of `observe` for one of our observations."""
    fields = event.payload[1]
    return {
        **{
            name: fields[name] for name in ("record_id", "encounter_id", "status", "category", "practitioner")
        },
        **fields["code"],
        "value": fields["quantity"]["value"],
        "unit": fields["quantity"]["unit"],
        **{f"actor_{name}": value for name, value in event.actor.items()},
        "occurred_at": event.occurred_at,
        "recorded_at": event.recorded_at,
    }


class Theirs:
    """The `eventsourcing` library with its SQLite recorder."""

    def __init__(self, folder: Path, events: Sequence[Event]) -> None:
        self.facts = [_facts(event) for event in events]
        environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "peer.db")}
        self.application: Application = Application(env=environment)
        self.record = Record()
        self.application.save(self.record)

    def _observe(self, record: Record, count: int) -> None:
        facts = self.facts
        for number in range(count):
            record.observe(**facts[number % len(facts)])

    def single(self, number: int) -> None:
        """Making the event is part of it, as deciding would be: less than 10 µs of the whole."""
        self._observe(self.record, 1)
        self.application.save(self.record)

    def prepare(self, batches: int) -> None:
        """The events of so many commits, made but not saved."""
        self._prepared = [Record() for _ in range(batches)]
        for record in self._prepared:
            self._observe(record, A_COMMIT - 1)

    def batch(self, number: int) -> None:
        self.application.save(self._prepared[number])

    def read_all(self) -> float:
        count = 0

        def read() -> None:
            nonlocal count
            start = 1
            while page := self.application.recorder.select_notifications(start, PAGE):
                for notification in page:
                    self.application.mapper.to_domain_event(notification)
                count += len(page)
                start = page[-1].id + 1

        seconds = timed(read)
        return count / seconds

    def make_stream(self) -> None:
        self._long = Record()
        self._observe(self._long, STREAM - 1)
        self.application.save(self._long)

    def stream(self) -> float:
        return timed(lambda: list(self.application.events.get(self._long.id))) * 1000

    def close(self) -> None:
        self.application.close()
