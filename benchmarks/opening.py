"""Opening the archive of ten years, and planning a recovery into the middle of them: from a folder and from S3.

The archive is made as shipping, upkeep and pruning make one, by a clock that is set. A checkpoint every ten seconds
have the day in the middle, which the plan goes to, and the last hour, which is not joined yet. Every other day has one:
what was joined is one object a day whatever it holds, and is not read.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from benchmarks.child import run_child
from benchmarks.clinics import new_home
from benchmarks.harness import MIB, Bench, Figure, Missing, at_most, say
from benchmarks.inputs import entries_sample
from benchmarks.servers import bucket
from events.log import Entry as LogEntry
from events.memory_log import MemoryLog
from events.position import ACCESS, EVENTS
from replicator.archive import Archive
from replicator.archive_index import ArchiveIndex, open_archive
from replicator.directory_store import DirectoryStore
from replicator.entries import Entry
from replicator.keys import load_signing_key
from replicator.manifest import CONFIG_KEY
from replicator.memory_store import MemoryStore
from replicator.merging import DAY, HOUR
from replicator.pruning import needed, plan_pruning, prune
from replicator.shipper import Shipper
from replicator.stores import AlreadyThere, ObjectStore
from replicator.upkeep import upkeep, upkeep_due
from services.home import SIGNING_KEY
from services.places import object_store
from services.settings import ArchiveSettings

YEARS = 10
EVENTS_A_YEAR = 100_000
"""Fewer years with fewer events asked for, so that a trial is quick."""
DAYS_A_YEAR = 365
INTERVAL_MILLIS = 10_000
FIRST = 17_000 * DAY
PRUNED_DAYS = 50
COPIERS = 16


class Aged(NamedTuple):
    """An archive of years in memory, and the home of its clinic, of which log and tables are lost."""

    home: Path
    store: MemoryStore
    days: int
    middle: int
    """Milliseconds UTC: a moment on the day in the middle."""


def run(bench: Bench) -> list[Figure]:
    aged = bench.once("an archive of years", lambda: make_aged(bench))
    summary = max(stored.size_bytes for stored in aged.store.list("summaries/"))
    copy(aged.store, DirectoryStore(aged.home / "archive"))
    figures = [
        Figure("objects in the archive", sum(1 for _ in aged.store.list("")), "", note=f"{aged.days:,} days"),
        Figure("its newest summary", summary / MIB, "MiB"),
        _figure(bench, "a folder", aged, {}, 2.0),
    ]
    try:
        with bucket() as place:
            copy(aged.store, object_store(place, aged.home))
            figures.append(_figure(bench, "S3", aged, settings_of(place), 5.0))
    except Missing as error:
        say(f"  left out: S3 ({error})")
    return figures


def _figure(bench: Bench, name: str, aged: Aged, environment: dict[str, str], limit: float) -> Figure:
    reports = [run_child("plan", str(aged.home), str(aged.middle), **environment) for _ in range(bench.runs)]
    seconds = statistics.median(report["seconds"] for report in reports)
    return Figure(f"opened and planned, {name}", seconds, "s", at_most(limit))


def settings_of(place: ArchiveSettings) -> dict[str, str]:
    """The environment that puts a clinic's archive there."""
    given = {
        "url": place.url,
        "endpoint": place.endpoint,
        "access_key": place.access_key,
        "secret_key": place.secret_key,
    }
    return {f"REKAM_ARCHIVE__{name.upper()}": value or "" for name, value in given.items()}


def copy(source: MemoryStore, target: ObjectStore) -> None:
    def one(key: str) -> None:
        with suppress(AlreadyThere):
            target.create(key, source.get(key))

    with ThreadPoolExecutor(COPIERS) as pool:
        deque(pool.map(one, [stored.key for stored in source.list("")]), maxlen=0)


# -- making it ---------------------------------------------------------------------------------------------------


class _Clock:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def make_aged(bench: Bench) -> Aged:
    """Every day has events, and is merged and joined when it is over."""
    days = max(8, min(YEARS * DAYS_A_YEAR, bench.events * DAYS_A_YEAR // EVENTS_A_YEAR))
    clock, events = _Clock(FIRST), cycle(entries_sample(bench))
    home = new_home(bench)
    (home.path / "log.db").unlink()
    (home.path / "tables.db").unlink(missing_ok=True)
    store = MemoryStore(clock)
    store.create(CONFIG_KEY, home.writer().store.get(CONFIG_KEY))
    shipping = _Shipping(clock, Archive.open(store, load_signing_key(home.keys / SIGNING_KEY)), events)
    middle = days // 2
    for day in range(days):
        shipping.live(FIRST + day * DAY, INTERVAL_MILLIS if day == middle else DAY, DAY)
        if day % PRUNED_DAYS == 0:
            shipping.prune()
    shipping.live(FIRST + days * DAY, INTERVAL_MILLIS, HOUR)
    shipping.prune()
    return Aged(home.path, store, days, FIRST + middle * DAY + DAY // 2 + INTERVAL_MILLIS // 2)


class _Shipping:
    """A clinic whose log is shipped, and kept small to list."""

    def __init__(self, clock: _Clock, archive: Archive, events: Iterator[LogEntry]) -> None:
        self._clock, self._events = clock, events
        self._log = MemoryLog(clock=clock)
        self._archive = archive
        self._shipper = Shipper(self._log, archive, clock=clock)
        self._looked = FIRST // HOUR
        self._index: ArchiveIndex | None = None

    def live(self, begin: int, interval: int, lasting: int) -> None:
        for now in range(begin, begin + lasting, interval):
            self._clock.now = now
            for topic in (EVENTS, ACCESS):
                self._log.append(topic, [next(self._events)])
            self._shipper.ship_once(entries=self._upkeep(now))

    def _upkeep(self, now: int) -> list[Entry]:
        """What is due, looked for when an hour has begun."""
        if now // HOUR == self._looked:
            return []
        self._looked = now // HOUR
        self._shipper.ship_once()  # by whose time the hour is over
        self._index = self._index or open_archive(self._archive.store)
        self._index.refresh()
        return upkeep(self._log, self._archive, self._index) if upkeep_due(self._index) else []

    def prune(self) -> None:
        """As `rekam archive prune` does, without its grace."""
        store = self._archive.store
        plan = plan_pruning(store.list(""), needed(open_archive(store)), self._clock.now, grace_days=0)
        prune(store, plan.remove)
