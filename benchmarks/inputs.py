"""What several benchmarks work on: the simulated clinic's events, as objects, as bytes, as a log."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from benchmarks.harness import Bench
from events.codec import encode_event
from events.envelope import Event
from events.log import Entry
from events.sqlite_log import SqliteLog
from services.simulation.traffic import simulate
from services.simulation.writing import write_simulation

SAMPLE_EVENTS = 20_000


def traffic_sample(bench: Bench) -> list[Event]:
    """Some events of the simulated clinic, from where everybody's everyday work goes on."""

    def make() -> list[Event]:
        count = min(SAMPLE_EVENTS, bench.events)
        return list(islice(simulate(bench.patients, 2 * count, bench.seed), count, 2 * count))

    return bench.once("a sample of events", make)


def entries_sample(bench: Bench) -> list[Entry]:
    """The same, encoded, as an append takes them."""
    return bench.once("a sample of entries", lambda: [entry(event) for event in traffic_sample(bench)])


def entry(event: Event) -> Entry:
    return Entry(event.stream.encode(), encode_event(event))


def simulated_log(bench: Bench) -> Path:
    """A SQLite log that holds the whole simulation."""
    return bench.once(f"a log of {bench.events:,} events", lambda: write_log(bench, bench.events))


def write_log(bench: Bench, events: int) -> Path:
    """A new SQLite log with the first `events` of the simulation."""
    path = bench.scratch("log") / "log.db"
    log = SqliteLog(path, create=True)
    try:
        traffic = simulate(bench.patients, events, bench.seed)
        write_simulation(log, traffic, lambda streams: {}, bench.seed, batch_events=5_000)
    finally:
        log.close()
    return path


def opener(path: Path) -> Callable[[], SqliteLog]:
    """Opens the log at `path`; can be handed to another process."""
    return _Opener(path)


class _Opener:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> SqliteLog:
        return SqliteLog(self.path)
