"""Keeping an archive small to list: segments merged and checkpoints joined by the hour and by the day.

Each round gives entries for the next checkpoint; until that is committed nothing of it counts, and a round that was
killed leaves orphans. By the newest checkpoint's time, which is the log's clock, not ours. What was merged or joined
stays beside what takes its place until retention removes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from events.log import LogReader
from replicator.archive import Archive, ArchiveIndex
from replicator.checkpoints import checkpoints_after, fitting_manifest
from replicator.entries import CheckpointsEntry, End, Entry, SegmentEntry, SummaryEntry, end_json
from replicator.holes import current_segments
from replicator.joined import Checkpoint, join_checkpoints, joined_key
from replicator.manifest import parse_manifest
from replicator.merging import DAY, HOUR, Held, Merge, by_period, merge_segments, merges
from replicator.summary import Summary, add_entries, summary_key


def upkeep(log: LogReader, archive: Archive, index: ArchiveIndex) -> list[Entry]:
    """Merges and joins what is due, and gives the entries that the next checkpoint is to name; none where none is.

    `index` is the archive as it stands. Raises as merge_segments.
    """
    now = index.manifest.time
    entries: list[Entry] = []
    for period in (HOUR, DAY):
        entries += merge_all(log, archive, merges(_segments(index, entries), by_period(period, now)))
    return [*entries, *join_due(archive, index)]


def merge_all(log: LogReader, archive: Archive, wanted: Iterable[Merge]) -> list[Entry]:
    return [merge_segments(log, archive, merge) for merge in wanted]


def _segments(index: ArchiveIndex, new: Iterable[Entry]) -> Held:
    """The segments that count once `new` entries do."""
    current = {entry.key: entry for entry in index.entries}
    add_entries(current, new)
    return current_segments(entry for entry in current.values() if isinstance(entry, SegmentEntry))


def upkeep_due(index: ArchiveIndex) -> bool:
    """Whether an hour ended since checkpoints were last joined."""
    joined, marks = index.joined, index.marks
    if not len(marks):
        return False
    since = joined[-1].last.time if joined else marks.first.time
    return since // HOUR < marks.last.time // HOUR


def join_due(archive: Archive, index: ArchiveIndex) -> list[Entry]:
    """Joins the checkpoints that are not joined yet, and the joined ones of days that are over; with a summary."""
    held = index.joined
    single = list(_single(index, held[-1].last.n if held else 0))
    if not single:
        return []
    made: list[CheckpointsEntry] = []
    today, newest_day = index.manifest.time // DAY, _end(single[0]).time // DAY
    for number, of_day in groupby(held, lambda entry: entry.first.time // DAY):
        day = list(of_day)
        behind = single if number == newest_day else []
        if number < today and (len(day) > 1 or behind):
            # What was not joined yet goes straight into its day: an entry that another of the same round replaces would
            # come back when a reader, who has the summary already, meets it again.
            joined = [checkpoint for entry in day for checkpoint in index.checkpoints(entry)]
            made.append(_join(archive, [*joined, *behind], [entry.key for entry in day]))
            single = [] if behind else single
    if single:
        made.append(_join(archive, single, []))
    return [*made, _summarise(archive, index, made)]


def _single(index: ArchiveIndex, after: int) -> Iterator[Checkpoint]:
    """The checkpoints behind number `after` up to the index's newest, from objects of their own."""
    for read in checkpoints_after(index.store, after, index.config.origin, index.keys):
        if read.n <= index.head.n:
            yield Checkpoint(read.n, read.note, fitting_manifest(read))


def _join(archive: Archive, checkpoints: Sequence[Checkpoint], replaces: Sequence[str]) -> CheckpointsEntry:
    first, last = _end(checkpoints[0]), _end(checkpoints[-1])
    return archive.add_plain(
        "checkpoints",
        lambda digest, _: joined_key(first.n, last.n, digest),
        join_checkpoints(checkpoints),
        CheckpointsEntry,
        first=end_json(first),
        last=end_json(last),
        **({"replaces": list(replaces)} if replaces else {}),
    )


def _end(checkpoint: Checkpoint) -> End:
    manifest = parse_manifest(checkpoint.manifest, f"the manifest of checkpoint {checkpoint.n}")
    leaves = manifest.before.size + len(manifest.entries) + 1
    return End(checkpoint.n, manifest.time, manifest.position, leaves)


def _summarise(archive: Archive, index: ArchiveIndex, joined: Sequence[CheckpointsEntry]) -> SummaryEntry:
    """The summary of the checkpoints up to the index's newest; it takes the place of the one before."""
    current = {entry.key: entry for entry in index.entries}
    add_entries(current, joined)
    (newest,) = _single(index, index.head.n - 1)
    summary = Summary(newest.n, newest.note, newest.manifest, current)
    return archive.add_plain(
        "summary",
        lambda digest, _: summary_key(newest.n, digest),
        summary.to_bytes(),
        SummaryEntry,
        n=newest.n,
        replaces=[entry.key for entry in index.entries if isinstance(entry, SummaryEntry)],
    )
