"""Applying events again that stand where they have no effect: set aside by a rewind, or on a log that turned up late.

Each is a new event behind the record as it stands now, which names the old one as its cause; twice is once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from events.catalogue import SEALED
from events.client import Client, Draft
from events.envelope import Event, EventId
from events.log import EventLog
from events.patient_keys import Erased
from events.sealing import ERASURE_FAMILY
from projections.store import Tables
from services.projecting import catch_up
from services.system import System
from services.writing import client_on


@dataclass(frozen=True)
class Chosen:
    """Which events are to be applied again. Empty: all."""

    streams: frozenset[str] = frozenset()
    event_ids: frozenset[EventId] = frozenset()

    def takes(self, stream: str, event_id: EventId) -> bool:
        if self.event_ids:
            return event_id in self.event_ids
        return not self.streams or stream in self.streams


@dataclass
class Reapplied:
    """What became of them."""

    applied: int = 0
    again: int = 0
    """Had been applied again before, or are in effect anyway."""
    refused: list[tuple[EventId, str]] = field(default_factory=list)
    """(id, why) of those that cannot be."""


class Reapplying:
    """Appends to one log; `done` counts."""

    def __init__(self, client: Client, actor: Mapping[str, str]) -> None:
        self._client = client
        self._actor = actor
        self.done = Reapplied()

    def apply(self, event: Event) -> None:
        """`event`: as it was read, sealed or not. Raises LogUnavailable: the same again goes on."""
        event = self._client.encoder.reveal(event)
        kind = event.payload[0]
        if kind == SEALED or kind.startswith(ERASURE_FAMILY):
            why = "its key is not here" if kind == SEALED else "erasures and restrictions hold without it"
            self.done.refused.append((event.event_id, why))
            return
        draft = Draft(event.payload, event.occurred_at, self._actor, event.correlation_id, event.event_id)
        key = b"reapply" + event.event_id
        try:
            written = self._client.append(event.stream, lambda head: draft, key=key, reapply=True)
        except Erased as error:
            self.done.refused.append((event.event_id, error.message))
            return
        if written.again:
            self.done.again += 1
        else:
            self.done.applied += 1


@contextmanager
def reapplying(
    system: System, log: EventLog, tables: Tables, actor: Mapping[str, str]
) -> Iterator[Reapplying]:
    """Onto `log`, whose end the tables have been brought to; at the end they are again."""
    yield Reapplying(client_on(system, log, tables), actor)
    catch_up(log, tables)
