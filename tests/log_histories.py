"""Random histories on a log in memory: writers that are fresh, stale, asleep, pipelining or broken, and rewinds."""

from __future__ import annotations

import random
from typing import Any

from events.codec import encode_control, encode_event, heartbeat, rewound
from events.control import read_rewinds
from events.envelope import Event, Payload
from events.log import Entry
from events.memory_log import MemoryLog
from events.position import ACCESS, CONTROL, EVENTS, Partition, Position
from events.rules import Effect, Rewind

ACTOR = {"id": "staff-1", "role": "nurse", "system": "test"}
START = 1_700_000_000_000


def reading(record_id: str, value: str | None) -> Payload:
    quantity = value and {"value": value, "unit": "kg", "code": "kg", "comparator": None}
    fields: dict[str, Any] = {
        "record_id": record_id,
        "encounter_id": None,
        "status": "final",
        "category": "vital-signs",
        "code": {"system": "http://loinc.org", "code": "29463-7", "display": "Body weight"},
        "text": None,
        "quantity": quantity,
        "coded": None,
        "value_text": None,
        "interpretation": None,
        "components": [],
        "practitioner": None,
        "corrects": None,
        "reason": None,
        "origin": None,
    }
    return "id.rekam.care.ObservationRecorded", fields


def note(kind: str, text: str) -> Payload:
    fields = {
        "record_id": "n",
        "encounter_id": None,
        "kind": kind,
        "title": None,
        "text": text,
        "practitioner": None,
        "origin": None,
    }
    return "id.rekam.care.NoteWritten", fields


def void(record_id: str) -> Payload:
    fields = {"kind": "observation", "record_id": record_id, "target": bytes(16), "reason": None}
    return "id.rekam.care.EnteredInError", fields


def viewed(patient: str) -> Payload:
    fields = {
        "patient": patient,
        "section": "summary",
        "encounter_id": None,
        "purpose": None,
        "break_glass": False,
        "reason": None,
    }
    return "id.rekam.access.RecordViewed", fields


class History:
    """A log and everything that writes to it. The same seed gives the same log."""

    def __init__(self, seed: int, partitions: int = 1, streams: int = 5) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.log = MemoryLog({EVENTS: partitions, ACCESS: 1, CONTROL: 1}, clock=lambda: self.now)
        self.streams = [f"patient-{i:032x}" for i in range(streams)]
        self.heads: dict[str, list[bytes]] = {}
        self.asleep: dict[str, tuple[list[bytes], bytes | None]] = {}
        self.sent: list[tuple[str, bytes, bytes]] = []
        self.accesses = 0
        self.last_access: bytes | None = None
        self.ends: list[Position] = []

    # -- what there is ---------------------------------------------------------------------------------------

    def rewinds(self) -> list[tuple[int, Rewind]]:
        return read_rewinds(self.log, self.log.end().control)

    def epoch(self) -> bytes | None:
        return Effect(self.rewinds(), self.log.end()).newest

    def id(self) -> bytes:
        return self.random.randbytes(16)

    # -- writing ---------------------------------------------------------------------------------------------

    def encode(self, event: Event) -> bytes:
        return encode_event(event)

    def event(
        self, stream: str, version: int, previous: bytes | None, epoch: bytes | None, payload: Payload
    ) -> Event:
        at = self.now * 1000 + self.random.randrange(1000)
        return Event(self.id(), epoch, stream, version, previous, at, at, ACTOR, None, None, payload)

    def send(self, topic: str, key: str | None, value: bytes | None) -> None:
        self.now += self.random.choice((0, 1, 10))
        entry = Entry(None if key is None else key.encode(), value)
        self.log.append(topic, [entry])

    def payload(self) -> Payload:
        rnd = self.random
        record = f"r{rnd.randrange(4)}"
        return rnd.choice(
            (
                reading(record, rnd.choice(("1.50", "-0.25", "72", "0", None))),
                reading(record, "120"),
                note(rnd.choice("ab"), rnd.choice(("", "teks", "é'\"\\\n"))),
                void(record),
            )
        )

    def control(self, value: Any) -> None:
        self.now += 1
        self.log.append(CONTROL, [Entry(None, encode_control(value))])

    def rewind(self, target: Position, after: bytes | None = None, *, epoch: bytes | None = None) -> None:
        rewind = Rewind(epoch or self.id(), after, target)
        micros = self.now * 1000
        self.control(
            rewound(
                control_id=self.id(),
                recorded_at=micros,
                actor=ACTOR,
                rewind=rewind,
                kind="recovery",
                target_time=None,
                reason="test",
            )
        )

    def heartbeat(self) -> None:
        self.control(heartbeat(control_id=self.id(), recorded_at=self.now * 1000, actor=ACTOR, shipper="s"))

    # -- acting ----------------------------------------------------------------------------------------------

    def step(self) -> None:
        act = self.random.random()
        if act < 0.62:
            self.write()
        elif act < 0.68:
            self.retry()
        elif act < 0.76:
            self.foreign()
        elif act < 0.82:
            self.access()
        elif act < 0.86:
            self.heartbeat()
        elif act < 0.90:
            self.ends.append(self.log.end())
        elif act < 0.96:
            self.go_back()
        else:
            self.ahead()

    def applied(self) -> dict[str, list[bytes]]:
        from tests.reference import applied_ids

        return applied_ids(self.log, self.log.end())

    def write(self) -> None:
        """A writer that looks first, or one that slept through anything; sometimes it sends twice, or pipelines."""
        rnd = self.random
        stream = rnd.choice(self.streams)
        fresh = (list(self.applied().get(stream, [])), self.epoch())
        seen, epoch = fresh if rnd.random() < 0.7 else self.asleep.get(stream, ([], None))
        self.asleep[stream] = (seen, epoch)
        for _ in range(rnd.choice((1, 1, 2, 3))):
            event = self.event(stream, len(seen) + 1, seen[-1] if seen else None, epoch, self.payload())
            value = self.encode(event)
            for _ in range(rnd.choice((1, 1, 1, 2))):
                self.send(EVENTS, stream, value)
            self.sent.append((EVENTS, stream.encode(), value))
            seen = [*seen, event.event_id]

    def retry(self) -> None:
        if self.sent:
            topic, key, value = self.random.choice(self.sent)
            self.send(topic, key.decode(), value)

    def ahead(self) -> None:
        stream = self.random.choice(self.streams)
        self.send(
            EVENTS, stream, self.encode(self.event(stream, 50, self.id(), self.epoch(), self.payload()))
        )

    def foreign(self) -> None:
        rnd = self.random
        stream = rnd.choice(self.streams)
        good = self.encode(self.event(stream, 1, None, self.epoch(), self.payload()))
        key, value = rnd.choice(
            (
                (stream, rnd.randbytes(30)),
                (stream, good[:-3]),
                (stream, b"\xc3\x01" + rnd.randbytes(60)),
                (stream, None),
                (None, good),
                ("patient-somebody-else", good),
                (stream, b""),
                (
                    stream,
                    encode_event(self.event(stream, 1, None, self.id(), self.payload())),
                ),  # unknown epoch
            )
        )
        self.send(rnd.choice((EVENTS, EVENTS, EVENTS, ACCESS)), key, value)
        if rnd.random() < 0.3:
            self.log.append(CONTROL, [Entry(None, rnd.randbytes(20))])
        if rnd.random() < 0.3:  # a producer that chose the partition by itself
            self.misplace(stream, good)

    def misplace(self, stream: str, value: bytes) -> None:
        from events.log import Record

        for partition, records in self.log.records.items():
            if partition.topic == EVENTS and self.random.random() < 0.5:
                records.append(Record(len(records), self.now, 1, stream.encode(), (), value))

    def access(self) -> None:
        stream = "access-1"
        self.accesses += 1
        patient = self.random.choice(self.streams)
        event = self.event(stream, self.accesses, self.last_access, None, viewed(patient))
        for _ in range(self.random.choice((1, 1, 2))):
            self.send(ACCESS, stream, encode_event(event))
        if self.random.random() < 0.9:
            self.last_access = event.event_id
        else:
            self.accesses -= 1  # its writer believes that this one was lost

    def go_back(self) -> None:
        """A rewind: to an earlier moment, torn, undecided, of another epoch, or beyond itself."""
        rnd = self.random
        end = self.log.end()
        target = rnd.choice(self.ends) if self.ends and rnd.random() < 0.7 else self.torn()
        after = self.epoch() if rnd.random() < 0.85 else rnd.choice((None, self.id()))
        if rnd.random() < 0.1:
            target = target.replace({Partition(CONTROL, 0): end.control + 3})
        self.rewind(target, after)
        if rnd.random() < 0.2:
            self.rewind(self.torn(), after)

    def torn(self) -> Position:
        return Position({p: self.random.randint(0, n) for p, n in self.log.end().items()})

    def run(self, steps: int) -> History:
        for _ in range(steps):
            self.step()
        return self
