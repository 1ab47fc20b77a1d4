"""A world for clients in tests: a log that loses answers, an operator who goes back, commands that say who they are."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from events.client import Client, Draft
from events.codec import decode_event, encode_control, rewound
from events.control import read_rewinds
from events.errors import LogUnavailable
from events.heads import Known, LogHeads
from events.log import Entry, EventLog
from events.position import CONTROL, EVENTS, Position
from events.rules import EMPTY, Effect, Head, Rewind, Verdict, judge_version

ACTOR = {"id": "t", "role": "tester", "system": "tests"}
SETTING = "id.rekam.clinic.SettingChanged"


class Troubled:
    """A log between a client and the real one: things happen around an append, and answers get lost."""

    def __init__(self, log: EventLog, around: Callable[[], None] = lambda: None) -> None:
        self._log = log
        self.around = around
        self.fate: Callable[[], str] = lambda: "kept"
        self.late: list[tuple[str, list[Entry]]] = []

    def append(self, topic, entries):
        self.around()
        fate = self.fate()
        if fate == "late":
            self.late.append((topic, list(entries)))
        if fate in ("late", "lost"):
            raise LogUnavailable("no answer", "try again")
        placed = self._log.append(topic, entries)
        if fate == "twice":
            self._log.append(topic, entries)
        if fate == "unheard":
            raise LogUnavailable("no answer", "try again")
        self.around()
        return placed

    def deliver(self) -> None:
        """What was under way arrives, however late."""
        while self.late:
            self._log.append(*self.late.pop(0))

    def __getattr__(self, name):
        return getattr(self._log, name)


def client(log: EventLog, *, heads: LogHeads | None = None, seed: int = 0, **options) -> Client:
    rnd = random.Random(seed)
    options.setdefault("sleep", lambda seconds: None)
    return Client(log, heads or LogHeads(log), clock=lambda: 1, random_bytes=rnd.randbytes, **options)


def says(command: str, before: Callable[[Head], None] = lambda head: None) -> Callable[[Head], Draft]:
    """A decision whose event names its command and the version that it was decided on."""

    def decide(head: Head) -> Draft:
        before(head)
        fields = {"name": command, "value": str(head.version), "reason": None}
        return Draft((SETTING, fields), 0, ACTOR)

    return decide


def go_back(log: EventLog, target: Position, epoch: bytes, after: bytes | None = b"") -> None:
    """An operator's rewind; `after` as seen unless given."""
    seen = Effect(read_rewinds(log, log.end().control), log.end()).newest if after == b"" else after
    control = rewound(
        control_id=epoch,
        recorded_at=0,
        actor=ACTOR,
        rewind=Rewind(epoch, seen, target),
        kind="recovery",
        target_time=None,
        reason="test",
    )
    log.append(CONTROL, [Entry(b"control", encode_control(control))])


def history(log: EventLog, position: Position | None = None) -> dict[str, list]:
    """stream -> its applied events, by an auditor who reads everything."""
    end = position or log.end()
    effect = Effect(read_rewinds(log, end.control), end)
    heads: dict[str, Head] = {}
    applied: dict[str, list] = {}
    for partition, stop in end.of(EVENTS).items():
        for batch in log.read(partition, 0, stop):
            for record in batch:
                event = decode_event(record.value)
                if effect.judge(event.epoch, partition, record.offset) is not None:
                    continue
                if judge_version(heads.get(event.stream, EMPTY), event, False) is Verdict.APPLIED:
                    heads[event.stream] = Head(event.version, event.event_id)
                    applied.setdefault(event.stream, []).append(event)
    return applied


def commands(events: Sequence) -> list[str]:
    return [event.payload[1]["name"] for event in events]


class SlowBase:
    """Tables that stand where they were last projected to: a base that is behind, exact at its own position."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._at = Position(dict.fromkeys(log.end(), 0))
        self._history: dict[str, list] = {}
        self.asked = 0

    def project(self) -> None:
        self._at = self._log.end()
        self._history = history(self._log, self._at)

    def position(self) -> Position:
        return self._at

    def head(self, stream: str) -> tuple[Head, Position]:
        self.asked += 1
        events = self._history.get(stream, [])
        return (Head(len(events), events[-1].event_id) if events else EMPTY), self._at

    def find(self, stream: str, event_id: bytes) -> Known | None:
        effect = Effect(read_rewinds(self._log, self._at.control), self._at)
        applied = {event.event_id for event in self._history.get(stream, [])}
        found = None
        for partition, stop in self._at.of(EVENTS).items():
            for batch in self._log.read(partition, 0, stop):
                for record in batch:
                    event = decode_event(record.value)
                    if event.event_id != event_id or (found and found.verdict is Verdict.APPLIED):
                        continue
                    verdict = effect.judge(event.epoch, partition, record.offset) or Verdict.CONFLICT
                    if verdict is Verdict.CONFLICT and event_id in applied:
                        same = [e for e in self._history[stream] if e.event_id == event_id]
                        verdict = Verdict.APPLIED if event == same[0] else Verdict.CONFLICT
                    found = Known(partition, record.offset, event.version, verdict)
        return found
