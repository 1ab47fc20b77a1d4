"""The reader's side of an archive: what it holds, checked, as a log that can be read and asked for times.

Opening reads every note and manifest from the first on, checks signatures, the chain and the tree, and that the
segments join without a hole up to the newest checkpoint's position. Reading a segment checks the digest of its stored
bytes, decrypts, and checks the plain bytes, before any record of it is given out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from events.codec import Control, as_rewind, decode_control, peek_epoch
from events.effective import Mark
from events.envelope import Epoch
from events.errors import ArchiveDiverged, BeyondArchive, Corrupt
from events.log import Record
from events.position import CONTROL_PARTITION, Partition, Position
from events.rules import Rewind
from replicator.checkpoints import committed, first_fitting, list_checkpoints, read_checkpoints
from replicator.config import ArchiveConfig, read_config
from replicator.encryption import Identity
from replicator.entries import Entry, SchemaEntry, SegmentEntry, SnapshotEntry
from replicator.fetching import fetch, fetch_ahead
from replicator.holes import covering, current_segments, refuse_holes
from replicator.manifest import Head, Manifest, advance, first_head
from replicator.note import Verifier, open_note, parse_head
from replicator.planning import Holdings, Range, SegmentFact, SnapshotPoint
from replicator.segment import contiguous, read_blocks
from replicator.stores import ObjectReader


def open_archive(
    store: ObjectReader,
    identity: Identity | None = None,
    seen: bytes | None = None,
    verifiers: Sequence[Verifier] = (),
) -> ArchiveIndex:
    """Opens an archive and checks all its checkpoints.

    `identity` opens records (without it, only what is not encrypted can be read). `seen` is the newest note that was
    seen elsewhere: an archive that does not contain its tree was rolled back or forked. `verifiers` are the keys on
    the sheet; without any the archive's own word is taken, and the index is not `attested`.
    Raises Refused, Corrupt, ArchiveGap, ArchiveDiverged or StoreUnavailable, naming what is wrong.
    """
    config, data = read_config(store)
    index = ArchiveIndex(store, identity, config, first_head(data), list(verifiers))
    index.refresh()
    if seen:
        index.refuse_unless_seen(seen)
    return index


class ArchiveIndex:
    """An opened archive: a LogReader and a TimeIndex over what its newest checkpoint covers."""

    def __init__(
        self,
        store: ObjectReader,
        identity: Identity | None,
        config: ArchiveConfig,
        head: Head,
        verifiers: list[Verifier],
    ) -> None:
        self.store = store
        self.identity_key = identity
        self.config = config
        self.attested = bool(verifiers)
        """Whether the signatures were checked with a key that did not come from the archive."""
        self.entries: list[Entry] = []
        self.marks: list[Mark] = []
        self.segments: dict[Partition, list[SegmentEntry]] = {}
        self._verifiers = verifiers or [config.verifier]
        self._head = head
        self._roots: dict[int, bytes] = {}
        self._control: list[tuple[int, Rewind]] | None = None

    def refresh(self) -> None:
        """Reads what was committed since. Raises as `open_archive`; the index stays as it was then."""
        head, entries, marks = self._head, list(self.entries), list(self.marks)
        roots = dict(self._roots)
        wanted = committed(list_checkpoints(self.store, head.n), head.n)
        for read in read_checkpoints(self.store, wanted, self.config.origin, self._verifiers):
            before = head
            head = first_fitting(read, lambda data: advance(before, data, read.note, read.signed))  # noqa: B023
            manifest = _of(head)
            if manifest.archive != self.config.archive_id:
                raise ArchiveDiverged(f"checkpoint {head.n} is of another archive")
            entries += manifest.entries
            marks.append(Mark(manifest.time, manifest.position))
            roots[head.tree.size] = head.tree.root()
        segments = current_segments(e for e in entries if isinstance(e, SegmentEntry))
        refuse_holes(segments, head.position, head.manifest.gaps if head.manifest else ())
        self.entries, self.marks, self.segments, self._roots = entries, marks, segments, roots
        self._head, self._control = head, None

    def refuse_unless_seen(self, seen: bytes) -> None:
        """Raises ArchiveDiverged where the archive does not contain the tree of a note that was seen before."""
        where = "the note seen before"
        before = parse_head(open_note(seen, self._verifiers, where), where)
        if before.origin != self.config.origin:
            raise ArchiveDiverged("this is another archive than the one seen before", "check its place")
        if self._roots.get(before.size) != before.root:
            newest = self._head.tree.size
            how = "was rolled back" if newest < before.size else "was rewritten"
            raise ArchiveDiverged(
                f"the archive {how}: it holds {newest} leaves, and a checkpoint with {before.size} was seen before",
                "compare with another copy of the archive",
            )

    # What the archive holds

    @property
    def head(self) -> Head:
        """The newest checkpoint; its number is 0 where there is none."""
        return self._head

    @property
    def manifest(self) -> Manifest:
        """The newest manifest. Raises BeyondArchive where the archive holds no checkpoint."""
        return _of(self._head)

    @property
    def snapshots(self) -> list[SnapshotEntry]:
        return [e for e in self.entries if isinstance(e, SnapshotEntry)]

    @property
    def schemas(self) -> list[SchemaEntry]:
        return [e for e in self.entries if isinstance(e, SchemaEntry)]

    def schema_text(self, fingerprint: bytes) -> str | None:
        """The writer schema that was stored under a fingerprint, as JSON; None where there is none."""
        named = next((s for s in self.schemas if s.fingerprint == fingerprint), None)
        return None if named is None else fetch(self.store, named, None).decode()

    @property
    def restorable(self) -> Range | None:
        """The times that can be restored; None where the archive holds no checkpoint."""
        if not self.marks:
            return None
        first = min((held[0].min_time for held in self.segments.values() if held), default=self.marks[0].time)
        return Range(min(first, self.marks[0].time), self.marks[-1].time)

    def holdings(self) -> Holdings:
        """What planning a recovery needs to know."""
        return Holdings(
            range=self.restorable,
            marks=self.marks,
            snapshots=[
                SnapshotPoint(s.id, s.position, s.links, s.parts_bytes, s.rows) for s in self.snapshots
            ],
            segments=[
                SegmentFact(s.partition, s.first, s.stop, s.size_bytes)
                for held in self.segments.values()
                for s in held
            ],
        )

    # The archive as a log (events.log.LogReader)

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Sequence[Record]]:
        """See LogReader. Raises ArchiveGap, Corrupt, Refused (encrypted, and no identity), StoreUnavailable."""
        end = self.end()[partition]
        if start < stop > end:
            raise BeyondArchive(f"{partition}: the archive ends before offset {end}; {stop} was asked for")
        wanted = covering(self.segments, partition, start, stop)
        for segment, plain in fetch_ahead(self.store, wanted, self.identity_key):
            for batch in _verified(segment, plain):
                if batch[0].offset >= start and batch[-1].offset < stop:
                    yield batch
                elif inside := [r for r in batch if start <= r.offset < stop]:
                    yield inside

    def start(self) -> Position:
        return Position({p: held[0].first for p, held in self.segments.items()})

    def end(self) -> Position:
        return self._head.position

    def identity(self) -> Mapping[str, str]:
        return self._head.manifest.topics if self._head.manifest else {}

    def close(self) -> None:
        """Nothing to let go of."""

    # The archive as a time index (events.effective.TimeIndex)

    def first_later(self, partition: Partition, start: int, stop: int, time: int) -> int | None:
        """Reads a segment only where its times leave the answer open."""
        for segment in covering(self.segments, partition, start, stop):
            if segment.max_time <= time:
                continue
            if segment.min_time > time:
                return max(start, segment.first)
            found = self._first(segment, start, stop, lambda record: record.time > time)
            if found is not None:
                return found
        return None

    def first_naming(
        self, partition: Partition, start: int, stop: int, epochs: frozenset[Epoch]
    ) -> int | None:
        """Reads a segment only where an epoch is first named in it before `start`."""
        for segment in covering(self.segments, partition, start, stop):
            named = [offset for epoch, offset in segment.epochs if epoch in epochs]
            if not named:
                continue
            found: int | None = min(named)
            if min(named) < start:
                found = self._first(segment, start, stop, lambda record: _epoch(record) in epochs)
            if found is not None and found < stop:
                return found
        return None

    def rewinds(self) -> Mapping[Epoch, int]:
        first: dict[Epoch, int] = {}
        for segment in self.segments.get(CONTROL_PARTITION, ()):
            for epoch, offset in segment.rewinds:
                first.setdefault(epoch, offset)
        return first

    @property
    def control(self) -> Sequence[tuple[int, Rewind]]:
        """(offset, rewind) of every rewind record, in effect or not. Reads those segments of control alone."""
        if self._control is None:
            self._control = [
                (offset, self._rewind(segment, offset))
                for segment in self.segments.get(CONTROL_PARTITION, ())
                for _, offset in segment.rewinds
            ]
        return self._control

    def _rewind(self, segment: SegmentEntry, offset: int) -> Rewind:
        (batch,) = self.read(CONTROL_PARTITION, offset, offset + 1)
        control = decode_control(batch[0].value) if batch[0].value is not None else None
        rewind = as_rewind(control) if isinstance(control, Control) else None
        if rewind is None:
            raise Corrupt(f"{segment.key} names a rewind at offset {offset}, and holds none there")
        return rewind

    def _first(
        self, segment: SegmentEntry, start: int, stop: int, wanted: Callable[[Record], bool]
    ) -> int | None:
        plain = fetch(self.store, segment, self.identity_key)
        records = (record for batch in _verified(segment, plain) for record in batch)
        return next((r.offset for r in records if start <= r.offset < stop and wanted(r)), None)


def _verified(segment: SegmentEntry, plain: bytes) -> Iterator[Sequence[Record]]:
    return contiguous(
        read_blocks(plain, segment.key, segment.first), segment.first, segment.stop, segment.key
    )


def _epoch(record: Record) -> object:
    return peek_epoch(record.value) if record.value is not None else None


def _of(head: Head) -> Manifest:
    if head.manifest is None:
        raise BeyondArchive("the archive holds no checkpoint yet", "ship first: rekam replicate --once")
    return head.manifest
