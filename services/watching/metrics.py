"""Status as Prometheus reads it: what an operator's dashboard and alerts need, and nothing about any patient.

Each scrape shows the last look; looks are a few seconds apart, since one asks log, tables and every archive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from events.errors import BadConfiguration
from replicator.entries import DrillEntry, VerificationEntry
from replicator.outcome import Outcome
from services.status import Colour, Status

LOOK_SECONDS = 5.0
MILLIS = 1000
COLOURS = {Colour.GREEN: 0, Colour.YELLOW: 1, Colour.RED: 2}

Look = Callable[[], Status]


class StatusCollector(Collector):
    """The last look as metrics. `first`: what the archive of the status itself is called."""

    def __init__(self, look: Look, first: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._first = first
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._looked = 0.0

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            if self._status is None or self._monotonic() - self._looked > LOOK_SECONDS:
                self._status, self._looked = self._look(), self._monotonic()
            status = self._status
        yield from of_system(status)
        yield from of_archives({self._first: status, **status.further})


def of_system(status: Status) -> Iterator[Metric]:
    yield _gauge("status", "0 green, 1 yellow, 2 red.", COLOURS[status.colour])
    yield _gauge("log_records", "Records on the log.", status.log_end.records() if status.log_end else None)
    yield _gauge("rewinds", "Rewinds in effect.", status.rewinds)
    yield _gauge("tables_behind_records", "Records that the tables do not hold yet.", status.behind_records)
    yield _gauge("unreadable_records", "Records that are no event of ours.", status.unreadable)
    yield _gauge("clock_skew_seconds", "How far apart the log's clocks are seen to be.", status.skew_seconds)
    verdicts = GaugeMetricFamily("rekam_events", "Events by what became of them.", labels=["verdict"])
    for verdict, count in status.verdicts.items():
        verdicts.add_metric([verdict], count)
    yield verdicts


def of_archives(archives: Mapping[str, Status]) -> Iterator[Metric]:
    values: dict[str, tuple[str, Callable[[Status], float | None]]] = {
        "readable": ("1 where the archive could be read.", lambda s: float(s.checkpoint is not None)),
        "checkpoint": ("The newest checkpoint's number.", lambda s: s.checkpoint),
        "restorable_timestamp_seconds": ("The newest moment that it can restore.", _restorable),
        "unshipped_records": ("Records that it does not hold yet.", lambda s: s.unshipped_records),
        "unshipped_age_seconds": ("Age of the oldest record that it lacks.", _unshipped_age),
        "bytes": ("Stored bytes that count.", lambda s: s.archive_bytes),
        "missing_attachments": (
            "Attached files that are neither in it nor on this machine.",
            lambda s: s.missing_attachments,
        ),
        "gaps": ("Known holes in what it holds.", lambda s: s.gaps),
        "recovery_seconds": (
            "Estimated time to recover from it with everything else lost.",
            lambda s: s.backups.recovery_seconds if s.backups else None,
        ),
        "verified_timestamp_seconds": ("When it was last verified.", lambda s: _began(_verified(s))),
        "verified_ok": ("1 where that found all well.", lambda s: _went_well(_verified(s))),
        "drill_timestamp_seconds": (
            "When a recovery from it was last rehearsed.",
            lambda s: _began(_drill(s)),
        ),
        "drill_ok": ("1 where that gave the truth.", lambda s: _went_well(_drill(s))),
        "drill_seconds": (
            "How long that took, where it came to a result.",
            lambda s: drill.rto_millis / MILLIS if (drill := _drill(s)) and drill.rto_millis else None,
        ),
        "rpo_objective_seconds": (
            "How much work may be lost, as the operator set it.",
            lambda s: s.backups.rpo_seconds if s.backups else None,
        ),
    }
    for name, (text, value_of) in values.items():
        family = GaugeMetricFamily(f"rekam_archive_{name}", text, labels=["archive"])
        for archive, status in archives.items():
            value = value_of(status)
            if value is not None:
                family.add_metric([archive], value)
        yield family
    yield _backup_ages(archives)


def _backup_ages(archives: Mapping[str, Status]) -> Metric:
    family = GaugeMetricFamily(
        "rekam_archive_backup_age_seconds", "Age of the newest backup of a kind.", labels=["archive", "kind"]
    )
    for archive, status in archives.items():
        for backup in (status.backups.full, status.backups.differential) if status.backups else ():
            if backup is not None:
                family.add_metric([archive, backup.backup], max(0, status.now - backup.begun) / MILLIS)
    return family


def _verified(status: Status) -> VerificationEntry | None:
    return status.backups.verified if status.backups else None


def _drill(status: Status) -> DrillEntry | None:
    return status.backups.drill if status.backups else None


def _began(done: VerificationEntry | DrillEntry | None) -> float | None:
    return None if done is None else done.time / MILLIS


def _went_well(done: VerificationEntry | DrillEntry | None) -> float | None:
    return None if done is None else float(done.outcome == Outcome.OK)


def _restorable(status: Status) -> float | None:
    return None if status.complete_through is None else status.complete_through / MILLIS


def _unshipped_age(status: Status) -> float | None:
    return status.unshipped_seconds if status.unshipped_records else 0.0 if status.checkpoint else None


def _gauge(name: str, text: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(f"rekam_{name}", text)
    if value is not None:
        family.add_metric([], value)
    return family


@contextmanager
def serving(look: Look, first: str, host: str, port: int) -> Iterator[int]:
    """Serves /metrics while entered; gives the port (0 chose one). Raises BadConfiguration where it is taken."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(look, first))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise BadConfiguration(
            f"metrics cannot be served at {host}:{port}: {error.strerror}", "choose another port"
        ) from None
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
