"""Merging segments: many small ones become few large ones, so that a recovery opens few objects.

What to merge is a pure decision over the entries. The records come from the live log, since a shipper cannot read what
it shipped, and the trees of the segments that are replaced are computed anew from them: records are joined, never
dropped, and a log that holds others than were archived is found out here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any

from events.envelope import Epoch
from events.errors import ArchiveDiverged
from events.log import LogReader
from events.position import Partition, Position
from replicator import merkle
from replicator.archive import Archive
from replicator.entries import SegmentEntry, epoch_text
from replicator.segment import SegmentBuilder, segment_key

MERGED_BYTES = 128 * 1024 * 1024
"""Plain bytes, compressed, of a merged segment at most."""
HOUR, DAY = 3_600_000, 86_400_000
"""Milliseconds."""

Held = dict[Partition, list[SegmentEntry]]
"""The segments that count, by partition, in offset order."""
Merge = Sequence[SegmentEntry]
"""Neighbours of one partition that become one segment."""


def merges(held: Held, together: Callable[[SegmentEntry], Hashable | None]) -> list[Merge]:
    """Neighbours for which `together` says the same (None: left alone), as far as they fit into one object."""
    return [merge for segments in held.values() for merge in _neighbours(segments, together)]


def _neighbours(
    segments: Iterable[SegmentEntry], together: Callable[[SegmentEntry], Hashable | None]
) -> list[Merge]:
    found: list[list[SegmentEntry]] = []
    before: Hashable | None = None
    size = stop = 0
    for segment in segments:
        same = together(segment)
        fits = size + segment.plain_bytes <= MERGED_BYTES and segment.first == stop
        if same is not None and same == before and fits:
            found[-1].append(segment)
            size += segment.plain_bytes
        else:
            found.append([segment])
            size = segment.plain_bytes
        before, stop = same, segment.stop
    return [merge for merge in found if len(merge) > 1]


def by_period(millis: int, now: int) -> Callable[[SegmentEntry], Hashable | None]:
    """Together are segments of one hour or day (of their first record's log time, UTC) that is over at `now`."""

    def period(segment: SegmentEntry) -> int | None:
        number = segment.first_time // millis
        return number if number < now // millis else None

    return period


def since(position: Position) -> Callable[[SegmentEntry], Hashable | None]:
    """Together is whatever stands at or behind a position."""
    return lambda segment: True if segment.first >= position[segment.partition] else None


def halving(held: Held) -> list[Merge]:
    """Merges after which each segment is at least twice as large as the next newer one, as far as they fit together.

    So there are few of them, about log2 of the log's size and one for each MERGED_BYTES, and whenever a record is
    written again the object that holds it has grown by half at least: that happens a logarithmic number of times.
    """
    return [merge for segments in held.values() for merge in _halving(segments)]


def _halving(segments: Iterable[SegmentEntry]) -> list[Merge]:
    stack: list[tuple[int, list[SegmentEntry]]] = []
    for segment in segments:
        size, newest = segment.plain_bytes, [segment]
        while stack and stack[-1][1][-1].stop == newest[0].first:
            older = stack[-1][0]
            if older >= 2 * size or older + size > MERGED_BYTES:
                break
            newest = [*stack.pop()[1], *newest]
            size += older
        stack.append((size, newest))
    return [merge for _, merge in stack if len(merge) > 1]


def merge_segments(log: LogReader, archive: Archive, merge: Merge) -> SegmentEntry:
    """Stores the merged segment and gives its entry, which the next checkpoint must name.

    Raises ArchiveDiverged where the log's records are not those that were archived, LogGap, StoreUnavailable.
    """
    builder = SegmentBuilder(merge[0].first)
    partition = merge[0].partition
    for segment in merge:
        for records in log.read(partition, segment.first, segment.stop):
            builder.add(records)
        if merkle.root(builder.leaves[segment.first - merge[0].first :]) != segment.root:
            raise ArchiveDiverged(
                f"{partition}: the log's records from {segment.first} to {segment.stop} are not those archived",
                "nothing was merged; look at 'rekam status' and compare log and archive",
            )
    built = builder.finish()
    return archive.add_sealed(
        "segment",
        partial(segment_key, partition, built.first, built.stop, merge[0].first_time),
        built.plain,
        SegmentEntry,
        partition=str(partition),
        first=built.first,
        stop=built.stop,
        records=built.root.hex(),
        last=built.last.hex(),
        plain_size=len(built.plain),
        replaces=[segment.key for segment in merge],
        **_told(merge),
    )


def _told(merge: Merge) -> dict[str, Any]:
    """What the entries tell of their records, together."""
    epochs: dict[Epoch | None, int] = {}
    for segment in merge:
        for epoch, offset in segment.epochs:
            epochs.setdefault(epoch, offset)
    blobs = sorted({blob for segment in merge for blob in segment.blobs})
    return {
        **({"blobs": [blob.hex() for blob in blobs]} if blobs else {}),
        "time": {
            "first": merge[0].first_time,
            "last": merge[-1].last_time,
            "min": min(segment.min_time for segment in merge),
            "max": max(segment.max_time for segment in merge),
        },
        "epochs": [[epoch_text(epoch), offset] for epoch, offset in epochs.items()],
        "rewinds": [[epoch.hex(), offset] for segment in merge for epoch, offset in segment.rewinds],
    }
