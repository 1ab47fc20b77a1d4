"""The desk where a day's work is collected: drafts of today, and what falls due on later days.

Everybody in the clinic writes at once, so a day's drafts are put in the order of their recording before versions are
given out. A draft has its event id from the start, because a later one may name it (a correction, a void).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from events.envelope import ID_BYTES, EventId, Payload
from services.simulation.people import Thread

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
IDS_A_BLOCK = 4096

Actor = dict[str, str]


class Draft(NamedTuple):
    """An event without its place in its stream. Sorts by the time of recording, then by the order of drafting."""

    recorded_at: int
    order: int
    thread: Thread
    occurred_at: int
    event_id: EventId
    actor: Actor
    work: bytes | None
    """The correlation id: the visit that it belongs to."""
    payload: Payload


class Desk:
    """What everybody in the simulated clinic shares. Times are microseconds UTC."""

    def __init__(self, seed: int, clinic: str) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.draw = self.random.random
        self.clinic = Thread(clinic)
        self.day = 0
        """Days since the first."""
        self.opened_at = 0
        """When the clinic opened today."""
        self.drafts: list[Draft] = []
        self.work: bytes | None = None
        """The piece of work that drafts belong to just now."""
        self.series = {"medical-record": 0, "invoice": 0, "receipt": 0, "sep": 0}
        self._ids = _event_ids(seed)
        self._due: dict[int, list[tuple[Callable[..., None], tuple[Any, ...]]]] = defaultdict(list)

    def draft(self, thread: Thread, at: int, actor: Actor, payload: Payload, late: int = 0) -> EventId:
        """Something that happened at `at`, recorded a little later, or `late` after. Gives its event id."""
        event_id = next(self._ids)
        drafts = self.drafts
        recorded_at = at + late + SECOND
        drafts.append(Draft(recorded_at, len(drafts), thread, at, event_id, actor, self.work, payload))
        return event_id

    def begin_work(self) -> None:
        """What is drafted from now on belongs to a new piece of work."""
        self.work = next(self._ids)

    def later(self, days: int, work: Callable[..., None], *arguments: Any) -> None:
        """`work(desk, *arguments)` on the first open day that is `days` from today or later."""
        self._due[self.day + days].append((work, arguments))

    def do_due(self) -> None:
        """Does what falls due up to today; it belongs to no visit."""
        self.work = None
        for day in sorted(day for day in self._due if day <= self.day):
            for work, arguments in self._due.pop(day):
                work(self, *arguments)

    def number(self, series: str) -> int:
        """The next number of a series."""
        self.series[series] += 1
        return self.series[series]

    def take_drafts(self) -> list[Draft]:
        """Today's drafts in the order of their recording; the desk is empty then."""
        drafts, self.drafts = self.drafts, []
        drafts.sort()
        return drafts


def _event_ids(seed: int) -> Iterator[EventId]:
    """Ids that follow from the seed and a counter, made by the block because one digest for each would cost more."""
    block = 0
    while True:
        digest = hashlib.shake_128(f"rekam simulation {seed} {block}".encode()).digest(ID_BYTES * IDS_A_BLOCK)
        for start in range(0, len(digest), ID_BYTES):
            yield digest[start : start + ID_BYTES]
        block += 1
