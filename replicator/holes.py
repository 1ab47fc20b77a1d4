"""Which segments count, and whether they join: the pure part of law 5 (never a shorter history in silence)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from events.errors import ArchiveGap
from events.position import Partition, Position
from replicator.entries import SegmentEntry
from replicator.manifest import Gap


def current_segments(entries: Iterable[SegmentEntry]) -> dict[Partition, list[SegmentEntry]]:
    """By partition, in offset order, those that no other replaces."""
    held = list(entries)
    replaced = {key for entry in held for key in entry.replaces}
    result: dict[Partition, list[SegmentEntry]] = {}
    for entry in sorted(held, key=lambda e: (e.partition, e.first, e.stop)):
        if entry.key not in replaced:
            result.setdefault(entry.partition, []).append(entry)
    return result


def refuse_holes(
    segments: dict[Partition, list[SegmentEntry]], position: Position, gaps: Sequence[Gap] = ()
) -> None:
    """Raises ArchiveGap where a partition's segments do not join up to `position` but for known gaps."""
    for hole in holes(segments, position, gaps):
        raise hole


def holes(
    segments: dict[Partition, list[SegmentEntry]], position: Position, gaps: Sequence[Gap] = ()
) -> Iterator[ArchiveGap]:
    """Every place where segments do not join, as what `refuse_holes` raises."""
    for partition, stop in position.items():
        held = segments.get(partition, [])
        if stop and not held:
            yield _gap(partition, 0, stop)
        for before, after in pairwise(held):
            if not _joins(partition, before.stop, after.first, gaps):
                yield _gap(partition, before.stop, after.first)
        if held and not _joins(partition, held[-1].stop, stop, gaps):
            yield _gap(partition, held[-1].stop, stop)


def _joins(partition: Partition, stop: int, first: int, gaps: Sequence[Gap]) -> bool:
    return stop == first or any((g.partition, g.first, g.stop) == (partition, stop, first) for g in gaps)


def _gap(partition: Partition, stop: int, first: int) -> ArchiveGap:
    what = (
        f"offsets {stop} to {first - 1} are missing"
        if stop < first
        else f"segments overlap at offset {first}"
    )
    return ArchiveGap(f"{partition}: {what} in the archive", "compare with another copy of the archive")


def covering(
    segments: dict[Partition, list[SegmentEntry]], partition: Partition, start: int, stop: int
) -> list[SegmentEntry]:
    """The segments that hold [start, stop), in order. Raises ArchiveGap naming what no segment holds."""
    if start >= stop:
        return []
    found = [s for s in segments.get(partition, ()) if s.stop > start and s.first < stop]
    at = start
    for segment in found:
        if segment.first > at:
            raise _gap(partition, at, segment.first)
        at = segment.stop
    if at < stop:
        raise _gap(partition, at, stop)
    return found
