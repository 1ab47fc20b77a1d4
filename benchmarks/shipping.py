"""Shipping a whole log into a new archive in a folder, by one process: from SQLite, from Kafka, and its memory."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.child import Report, run_child
from benchmarks.harness import Bench, Figure, Missing, at_least, at_most, say
from benchmarks.inputs import opener, simulated_log, write_log
from benchmarks.servers import new_topics
from events.log import Entry
from events.position import EVENTS, Partition
from services.places import open_log

FRACTION = 4
"""The shorter log has this part of the events."""
RESIDENT_MIB = 300
EVENTS_PARTITION = Partition(EVENTS, 0)


def run(bench: Bench) -> list[Figure]:
    whole = simulated_log(bench)
    part = bench.once("a shorter log", lambda: write_log(bench, max(1, bench.events // FRACTION)))
    reports = [_ship(bench, f"sqlite:{whole}") for _ in range(bench.runs)]
    shorter = _ship(bench, f"sqlite:{part}")
    figures = [
        Figure("shipped from SQLite", _rate(reports), "records/s"),
        _resident("memory of the process", reports[-1]),
        _resident(f"memory with 1/{FRACTION} of the log", shorter),
        Figure("archive against the log", _stored(reports[-1], whole), "x", note="stored bytes"),
    ]
    try:
        with kafka_log(whole) as url:
            found = [_ship(bench, url) for _ in range(bench.runs)]
    except Missing as error:
        say(f"  left out: Kafka ({error})")
        return figures
    return [
        *figures,
        Figure("shipped from Kafka", _rate(found), "records/s", at_least(50_000)),
        _resident("memory of the process, Kafka", found[-1]),
    ]


def _ship(bench: Bench, log_url: str) -> Report:
    return run_child("ship", log_url, str(bench.scratch("archive") / "archive"))


def _rate(reports: list[Report]) -> float:
    return float(statistics.median(report["records"] / report["seconds"] for report in reports))


def _resident(name: str, report: Report) -> Figure:
    note = f"{report['records']:,} records, {report['segments']} segments"
    return Figure(name, report["peak_mib"], "MiB", at_most(RESIDENT_MIB), note)


def _stored(report: Report, log: Path) -> float:
    size: int = report["size_bytes"]
    return size / log.stat().st_size


@contextmanager
def kafka_log(source: Path) -> Iterator[str]:
    """The URL of a log on Kafka, under a prefix of its own, that holds the same events. Raises Missing."""
    with new_topics() as url:
        say("  copying the log to Kafka")
        with closing(opener(source)()) as log, closing(open_log(url, Path("/"), create=True)) as copy:
            for batch in log.read(EVENTS_PARTITION, 0, log.end()[EVENTS_PARTITION]):
                copy.append(EVENTS, [Entry(record.key, record.value) for record in batch])
        yield url
