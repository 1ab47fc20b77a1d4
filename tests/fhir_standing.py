"""The record as an import sees it, judged straight from a log: small, slow, no tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from events.codec import decode_event, encode_control, rewound
from events.control import read_rewinds
from events.envelope import Epoch, Event, EventId
from events.errors import BadInput
from events.log import Entry, EventLog, Placed
from events.memory_log import MemoryLog
from events.position import CONTROL, EVENTS, Position
from events.rules import EMPTY, Effect, Head, Rewind, Verdict, judge_version
from services.fhir.items import Held, Key
from services.fhir.mapping.registration import NIK_SYSTEM

ACTOR = {"id": "test", "role": "operator", "system": "tests"}


class LogStanding:
    """Judges the whole log anew at each `catch_up`."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.events: list[Event] = []
        """Those that apply, in log order."""
        self.verdicts: list[Verdict] = []
        self._heads: dict[str, Head] = {}
        self._effect = Effect([], Position())

    def catch_up(self, end: Position) -> None:
        self._effect = Effect(read_rewinds(self.log, end.control), end)
        self.events, self.verdicts, self._heads = [], [], {}
        ids: set[tuple[EventId, int]] = set()
        for partition in end.of(EVENTS):
            for batch in self.log.read(partition, 0, end[partition]):
                for record in batch:
                    event = _event(record.value)
                    if event is None:
                        continue
                    head = self._heads.get(event.stream, EMPTY)
                    before = (event.event_id, event.version) in ids
                    verdict = self._effect.judge(event.epoch, partition, record.offset)
                    verdict = verdict or judge_version(head, event, before)
                    self.verdicts.append(verdict)
                    if verdict is Verdict.APPLIED:
                        ids.add((event.event_id, event.version))
                        self._heads[event.stream] = Head(event.version, event.event_id)
                        self.events.append(event)

    def epoch(self) -> Epoch | None:
        return self._effect.newest

    def heads(self, streams: Collection[str]) -> dict[str, Head]:
        return {stream: self._heads[stream] for stream in streams if stream in self._heads}

    def held(self, keys: Collection[Key]) -> dict[Key, Held]:
        found = {}
        for event in self.events:
            origin = event.payload[1].get("origin")
            if origin:
                key = (event.stream, origin["source"], origin["resource_type"], origin["resource_id"])
                mapped = event.type != "source.ResourceKept"
                found[key] = Held(origin["content_sha256"], event.event_id, mapped)
        return {key: found[key] for key in keys if key in found}

    def applied(self, event_ids: Collection[EventId]) -> Collection[EventId]:
        return set(event_ids) & {event.event_id for event in self.events}

    def patients_known_as(self, source: str, system: str, value: str) -> Collection[str]:
        found: dict[str, str] = {}
        for event in self.events:
            if event.type in ("registration.PatientRegistered", "registration.PatientCorrected"):
                fields = event.payload[1]
                numbers = {(i["system"] or "", i["value"]) for i in fields["identifiers"]}
                found.pop(event.stream, None)
                if (system, value) in numbers | {(NIK_SYSTEM, fields["nik"])}:
                    found[event.stream] = fields["origin"]["source"]
        return {stream for stream, of in found.items() if of == source}

    def of(self, stream: str) -> list[Event]:
        return [event for event in self.events if event.stream == stream]


def _event(value: bytes | None) -> Event | None:
    try:
        return decode_event(value or b"")
    except BadInput:
        return None


def rewind(log: MemoryLog, target: Position, epoch: bytes) -> None:
    """Appends a rewind to `target`, decided now."""
    end = log.end()
    after = Effect(read_rewinds(log, end.control), end).newest
    control = rewound(
        control_id=epoch,
        recorded_at=0,
        actor=ACTOR,
        rewind=Rewind(epoch, after, target),
        kind="recovery",
        target_time=None,
        reason="a test",
    )
    log.append(CONTROL, [Entry(None, encode_control(control))])


class MeddledLog:
    """A log beside whose appends something happens: `before` and `after` are told what is appended.

    Whatever they raise comes out of `append`, so `after` is a writer that dies before it hears of its success.
    """

    def __init__(
        self,
        log: MemoryLog,
        before: Callable[[Sequence[Entry]], None] = lambda _: None,
        after: Callable[[Sequence[Entry]], None] = lambda _: None,
    ) -> None:
        self._log, self._before, self._after = log, before, after

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        self._before(entries)
        placed = self._log.append(topic, entries)
        self._after(entries)
        return placed

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)
