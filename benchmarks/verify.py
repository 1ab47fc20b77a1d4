"""Verifying an archive by an auditor: stored digests with the tree, and every record; processor time of one core."""

from __future__ import annotations

import resource
import statistics
import time
from contextlib import closing

from benchmarks.clinics import shipped_clinic
from benchmarks.harness import Bench, Broken, Figure, at_least, at_most, median_seconds
from projections.system_tables import STREAMS
from replicator.auditing.records import look_at_segment
from replicator.auditing.verifying import Depth, Scope, verify
from replicator.fetching import fetch
from replicator.outcome import Outcome
from services.auditing import Auditing, auditing
from services.evidence import evidence_of
from services.home import Home
from services.projecting import catch_up_whole

MEGABYTE = 1_000_000


def run(bench: Bench) -> list[Figure]:
    home = shipped_clinic(bench).path
    about = auditing(home, archive=None, endpoint=None, key=None, identity=None, since=None)
    seconds: dict[Depth, list[float]] = {depth: [] for depth in Depth}
    elapsed: dict[Depth, list[float]] = {depth: [] for depth in Depth}
    for _ in range(bench.runs):
        for depth in Depth:
            started, used = time.perf_counter(), time.process_time()
            found = verify(about.opener(), Scope(depth, about.verifiers, about.outside))
            seconds[depth].append(time.process_time() - used)
            elapsed[depth].append(time.perf_counter() - started)
            if found.outcome is not Outcome.OK:
                raise Broken(f"the archive is {found.outcome.value}: {found.reasons}")
    counts = found.counts
    objects, whole = (statistics.median(seconds[depth]) for depth in Depth)
    return [
        Figure(
            "stored digests and the tree, a core",
            counts.size_bytes / MEGABYTE / objects,
            "MB/s",
            at_least(300),
            f"{counts.size_bytes / MEGABYTE:,.0f} MB; {statistics.median(elapsed[Depth.OBJECTS]):.2f} s in all",
        ),
        Figure(
            "every record, a core",
            statistics.median(_records_a_second(Home.open(home)) for _ in range(bench.runs)),
            "records/s",
            at_least(250_000),
            "read, decrypted, decoded, hashed, compared",
        ),
        Figure("depth records, with the snapshots' rows", whole, "s", note=f"{counts.records:,} records"),
        Figure(
            "evidence of one patient",
            _evidence_seconds(bench, about),
            "s",
            at_most(2),
            "of the one with most events",
        ),
        Figure("memory, highest", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB"),
    ]


def _evidence_seconds(bench: Bench, about: Auditing) -> float:
    """From the tables' journal to the file's bytes; without the start of a process."""
    assert about.home is not None
    with closing(about.home.log()) as log, closing(about.home.tables()) as tables:
        catch_up_whole(about.home.log_opener(), log, tables)
        heads = ((row[1], row[0]) for row in tables.all_rows(STREAMS) if str(row[0]).startswith("patient-"))
        _, patient = max(heads)
    return median_seconds(bench.runs, lambda: evidence_of(about, patient, None))


def _records_a_second(home: Home) -> float:
    """Of the segments alone, one after another in this process."""
    index, identity = home.archive(), home.identity()
    used, records = time.process_time(), 0
    for segments in index.segments.values():
        for segment in segments:
            looked = look_at_segment(segment, fetch(index.store, segment, identity))
            if looked.findings:
                raise Broken("a segment is not what it should be")
            records += looked.records
    return records / (time.process_time() - used)
