"""Building segments with their trees, on one core, out of records in memory; and reading them back, verified."""

from __future__ import annotations

import statistics

from benchmarks.harness import MIB, Bench, Figure, at_least, timed
from benchmarks.inputs import entries_sample
from events.log import Record, TimeType
from replicator.segment import Segment, build, read_segment

SEGMENT_RECORDS = 15_000
"""About 4 MiB, the default size of a segment."""
SEGMENTS = 6
START_MILLIS = 1_700_000_000_000


def run(bench: Bench) -> list[Figure]:
    entries = entries_sample(bench)
    # Records of a busy log: some share a millisecond, all differ in offset.
    records = [
        Record(n, START_MILLIS + n // 3, int(TimeType.APPEND), e.key, (), e.value)
        for n, e in enumerate(entries * (SEGMENTS * SEGMENT_RECORDS // len(entries) + 1))
    ][: SEGMENTS * SEGMENT_RECORDS]
    parts = [records[n : n + SEGMENT_RECORDS] for n in range(0, len(records), SEGMENT_RECORDS)]
    built: list[Segment] = []

    def build_all() -> None:
        built[:] = [build(part) for part in parts]

    def read_all() -> None:
        for segment in built:
            read_segment(segment.plain, segment.first, segment.stop, "a benchmark")

    building = statistics.median(timed(build_all) for _ in range(bench.runs))
    reading = statistics.median(timed(read_all) for _ in range(bench.runs))
    plain = sum(len(record.value or b"") for record in records)
    stored = sum(len(segment.plain) for segment in built)
    return [
        Figure("built, tree included", len(records) / building, "records/s", at_least(180_000), "one core"),
        Figure("built", plain / building / MIB, "MiB/s", note="of values"),
        Figure("read back", len(records) / reading, "records/s", note="one core"),
        Figure("size against the values", stored / plain, "x", note="compressed, keys and offsets included"),
    ]
