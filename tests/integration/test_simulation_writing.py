"""A simulation on a log: written once, whatever interrupts it and however often it is asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest

from events.codec import decode_events, encode_control, encode_event, rewound
from events.envelope import Event
from events.errors import LogUnavailable, Refused, SetAside
from events.log import Entry, Placed
from events.memory_log import MemoryLog
from events.position import ACCESS, CONTROL, EVENTS, Partition, Position
from events.rules import EMPTY, Head, Rewind, Verdict, judge_version
from services.simulation.traffic import simulate
from services.simulation.writing import ACCESS_EVERY, newest_epoch, write_simulation

PATIENTS, COUNT, SEED = 40, 2_000, 5


class Dying(MemoryLog):
    """A log that dies at the n-th append: before it, or half-way through it."""

    left = 10**9

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        self.left -= 1
        if self.left == 0:
            super().append(topic, entries[: len(entries) // 2])
            raise LogUnavailable("the log died")
        return super().append(topic, entries)


class Overtaken(MemoryLog):
    """A log on which a recovery to its beginning is appended just before the n-th append."""

    left = 10**9

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        self.left -= 1
        if self.left == 0:
            rewind = Rewind(b"e" * 16, None, Position(dict.fromkeys(self.end(), 0)))
            actor = {"id": "op", "role": "operator", "system": "test"}
            value = rewound(
                control_id=bytes(16),
                recorded_at=0,
                actor=actor,
                rewind=rewind,
                kind="recovery",
                target_time=0,
                reason="",
            )
            super().append(CONTROL, [Entry(None, encode_control(value))])
        return super().append(topic, entries)


def held(log: MemoryLog, topic: str) -> list[Event]:
    """All events of a topic, partition by partition."""
    found = []
    for partition, stop in log.end().of(topic).items():
        for batch in log.read(Partition(topic, partition.number), 0, stop):
            found += decode_events([record.value for record in batch])
    assert all(isinstance(event, Event) for event in found)
    return found


def judged(events: list[Event]) -> tuple[dict[str, Head], dict[bytes, Verdict]]:
    heads: dict[str, Head] = {}
    applied: set[tuple[int, bytes]] = set()
    verdicts: dict[bytes, Verdict] = {}
    for event in events:
        verdict = judge_version(
            heads.get(event.stream, EMPTY), event, (event.version, event.event_id) in applied
        )
        if verdict == Verdict.APPLIED:
            heads[event.stream] = Head(event.version, event.event_id)
            applied.add((event.version, event.event_id))
        if verdict == Verdict.APPLIED or event.event_id not in verdicts:
            verdicts[event.event_id] = verdict
    return heads, verdicts


def write(log: MemoryLog, count: int = COUNT, batch_events: int = 150) -> int:
    heads, _ = judged(held(log, EVENTS))

    def lookup(streams: Collection[str]) -> Mapping[str, Head]:
        return {stream: heads[stream] for stream in streams if stream in heads}

    events = simulate(PATIENTS, count, SEED, epoch=newest_epoch(log))
    return write_simulation(log, events, lookup, SEED, batch_events=batch_events).events


def test_a_second_run_adds_nothing() -> None:
    log = MemoryLog()
    assert write(log) == COUNT
    before = log.end()
    assert write(log) == 0
    assert log.end() == before
    assert held(log, EVENTS) == list(simulate(PATIENTS, COUNT, SEED))


def test_a_longer_run_adds_the_rest() -> None:
    log = MemoryLog()
    write(log, COUNT // 2)
    write(log, COUNT)
    whole = MemoryLog()
    write(whole, COUNT)
    assert judged(held(log, EVENTS))[0] == judged(held(whole, EVENTS))[0]


@pytest.mark.parametrize("partitions", [1, 3])
def test_killed_at_any_append_it_goes_on_to_the_same_end(partitions: int) -> None:
    counts = {EVENTS: partitions, ACCESS: 1}
    whole = MemoryLog(counts)
    write(whole)
    wanted = judged(held(whole, EVENTS))[0]
    for dies_at in range(1, 28, 3):
        log = Dying(counts)
        log.left = dies_at
        with pytest.raises(LogUnavailable):
            write(log)
        write(log)
        heads, verdicts = judged(held(log, EVENTS))
        assert heads == wanted
        assert set(verdicts.values()) == {Verdict.APPLIED}, "an event applied nowhere"
        _, access = judged(held(log, ACCESS))
        assert len(access) == COUNT // ACCESS_EVERY
        assert set(access.values()) == {Verdict.APPLIED}, "the access stream has a hole"


def test_access_events_name_patients_that_were_there() -> None:
    log = MemoryLog()
    write(log)
    streams = {event.stream for event in held(log, EVENTS)}
    looked = held(log, ACCESS)
    assert len(looked) == COUNT // ACCESS_EVERY
    assert all(event.payload[1]["patient"] in streams for event in looked)
    assert {event.type for event in looked} == {"access.RecordViewed", "access.RecordPrinted"}


def test_a_stream_that_somebody_else_continued_is_refused() -> None:
    log = MemoryLog()
    write(log, 500)
    last = next(e for e in reversed(held(log, EVENTS)) if e.stream.startswith("patient-"))
    head = judged(held(log, EVENTS))[0][last.stream]
    foreign = last._replace(event_id=b"f" * 16, version=head.version + 1, previous=head.last)
    log.append(EVENTS, [Entry(last.stream.encode(), encode_event(foreign))])
    with pytest.raises(Refused, match="somebody else"):
        write(log)


@pytest.mark.parametrize("moment", [1, 3])
def test_a_recovery_in_between_is_an_error_and_the_same_again_applies(moment: int) -> None:
    log = Overtaken()
    log.left = moment
    with pytest.raises(SetAside, match="while the simulation was written"):
        write_simulation(log, simulate(PATIENTS, COUNT, SEED), lambda _: {}, SEED)
    epoch = newest_epoch(log)
    assert epoch is not None
    again = write_simulation(log, simulate(PATIENTS, COUNT, SEED, epoch=epoch), lambda _: {}, SEED)
    assert again.events == COUNT
