"""The reader's side of an archive: what it holds, checked, as a log that can be read and asked for times.

Opening reads the newest summary and every note and manifest behind it (or all of them), checks signatures, the chain
and the tree, and that the segments join without a hole up to the newest checkpoint's position. Reading a segment
checks the digest of its stored bytes, decrypts, and checks the plain bytes, before any record of it is given out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType

from events.codec import Control, as_rewind, decode_control, peek_epoch
from events.effective import ListedMarks, Mark
from events.envelope import Epoch
from events.errors import ArchiveDiverged, BeyondArchive, Corrupt, LostData
from events.log import Record
from events.position import CONTROL_PARTITION, Partition, Position
from events.rules import Rewind
from replicator.checkpoints import checkpoints_after, first_fitting, signed_head
from replicator.config import ArchiveConfig, read_config
from replicator.encryption import Identity
from replicator.entries import (
    BackupEntry,
    BlobEntry,
    CheckpointsEntry,
    DrillEntry,
    Entry,
    SchemaEntry,
    SegmentEntry,
    SnapshotEntry,
    VerificationEntry,
)
from replicator.fetching import fetch, fetch_ahead
from replicator.holes import covering, current_segments, refuse_holes
from replicator.joined import Checkpoint, split_checkpoints
from replicator.manifest import Head, Manifest, advance, first_head, resume
from replicator.marks import ArchiveMarks, JoinedMarks
from replicator.note import Verifier, parse_head
from replicator.planning import BackupPoint, Holdings, SegmentFact, SnapshotPoint
from replicator.segment import contiguous, read_blocks
from replicator.stores import NoSuchObject, ObjectReader
from replicator.summary import add_entries, newest_summaries, parse_summary
from replicator.targets import Range
from replicator.trust import Keyring, read_handovers

JOINED_IN_MEMORY = 4
"""Joined objects whose marks are kept, once read."""


def open_archive(
    store: ObjectReader,
    identity: Identity | None = None,
    seen: bytes | None = None,
    verifiers: Sequence[Verifier] = (),
    *,
    whole: bool = False,
) -> ArchiveIndex:
    """Opens an archive and checks its checkpoints: those behind the newest summary, or with `whole` every one.

    `identity` opens records (without it, only what is not encrypted can be read). `seen` is the newest note that was
    seen elsewhere: an archive that does not contain its tree was rolled back or forked. `verifiers` are the keys on
    the sheet; without any the archive's own word is taken, and the index is not `attested`.
    Raises Refused, Corrupt, ArchiveGap, ArchiveDiverged or StoreUnavailable, naming what is wrong.
    """
    config, data = read_config(store)
    keys = Keyring(verifiers or [config.verifier], partial(read_handovers, store))
    keys.claim(config.verifier)
    index = None if whole else _from_summary(store, identity, config, keys)
    if index is None:
        index = ArchiveIndex(store, identity, config, first_head(data, config.verifier), keys)
        index.refresh()
    index.attested = bool(verifiers)
    if seen:
        index.refuse_unless_seen(seen)
    return index


def _from_summary(
    store: ObjectReader, identity: Identity | None, config: ArchiveConfig, keys: Keyring
) -> ArchiveIndex | None:
    """From the newest summary that a later checkpoint names; None where there is none."""
    for key in newest_summaries(store):
        try:
            data = store.get(key)
            summary = parse_summary(data, key)
            signed = signed_head(summary.note, summary.n, config.origin, keys)
            head = resume(summary.manifest, summary.note, signed, summary.n, config.verifier)
            index = ArchiveIndex(store, identity, config, head, keys, summary.entries)
            if not index.joined or index.joined[-1].last.n != head.n:
                continue
            index.refresh()
        except (NoSuchObject, LostData):
            continue  # reading every checkpoint says what is wrong, if anything is
        if index.named_since.get(key) == hashlib.sha256(data).digest():
            return index
    return None


class ArchiveIndex:
    """An opened archive: a LogReader and a TimeIndex over what its newest checkpoint covers."""

    def __init__(
        self,
        store: ObjectReader,
        identity: Identity | None,
        config: ArchiveConfig,
        head: Head,
        keys: Keyring,
        entries: Mapping[str, Entry] = MappingProxyType({}),
    ) -> None:
        """`entries`: those that count at `head`, by key; its time is not among the recent marks."""
        self.store = store
        self.identity_key = identity
        self.config = config
        self.attested = False
        """Whether the signatures were checked with a key that did not come from the archive."""
        self.segments: dict[Partition, list[SegmentEntry]] = {}
        self.named_since: dict[str, bytes] = {}
        """key -> digest of stored bytes, of every entry that was read since it was opened."""
        self.keys = keys
        self._head = head
        self._current = dict(entries)
        self._older = consecutive(entries.values())
        self._recent: list[Mark] = []
        self._roots = {head.tree.size: head.tree.root()} if head.manifest else {}
        self._control: list[tuple[int, Rewind]] | None = None
        self._load = lru_cache(JOINED_IN_MEMORY)(self._load_joined)

    def refresh(self) -> None:
        """Reads what was committed since. Raises as `open_archive`; the index stays as it was then."""
        head, current, recent = self._head, dict(self._current), list(self._recent)
        roots, named = dict(self._roots), dict(self.named_since)
        for read in checkpoints_after(self.store, head.n, self.config.origin, self.keys):
            before = head
            head = first_fitting(read, lambda data: advance(before, data, read.note, read.signed))  # noqa: B023
            manifest = _of(head)
            if manifest.archive != self.config.archive_id:
                raise ArchiveDiverged(f"checkpoint {head.n} is of another archive")
            add_entries(current, manifest.entries)
            named.update((entry.key, entry.stored) for entry in manifest.entries)
            recent.append(Mark(manifest.time, manifest.position))
            roots[head.tree.size] = head.tree.root()
        if head.note:
            self.keys.refuse_retired(head.note, f"checkpoint {head.n}")
        segments = current_segments(e for e in current.values() if isinstance(e, SegmentEntry))
        refuse_holes(segments, head.position, head.manifest.gaps if head.manifest else ())
        self._current, self._recent, self.segments, self._roots = current, recent, segments, roots
        self._head, self._control, self.named_since = head, None, named

    def refuse_unless_seen(self, seen: bytes) -> None:
        """Raises ArchiveDiverged where the archive does not contain the tree of a note that was seen before."""
        where = "the note seen before"
        before = parse_head(self.keys.open(seen, where)[0], where)
        if before.origin != self.config.origin:
            raise ArchiveDiverged("this is another archive than the one seen before", "check its place")
        if self._root_at(before.size) != before.root:
            newest = self._head.tree.size
            how = "was rolled back" if newest < before.size else "was rewritten"
            raise ArchiveDiverged(
                f"the archive {how}: it holds {newest} leaves, and a checkpoint with {before.size} was seen before",
                "compare with another copy of the archive",
            )

    def _root_at(self, leaves: int) -> bytes | None:
        """The root that the archive's checkpoint over so many leaves signed; None where none has so many."""
        if leaves in self._roots:
            return self._roots[leaves]
        for entry in self._older:
            if entry.first.leaves <= leaves <= entry.last.leaves:
                for n, note, _ in self.checkpoints(entry):
                    signed = signed_head(note, n, self.config.origin, self.keys)
                    if signed.size == leaves:
                        return signed.root
        return None

    def checkpoints(self, entry: CheckpointsEntry) -> list[Checkpoint]:
        """Those that were joined. Raises as `fetching.fetch`."""
        return split_checkpoints(fetch(self.store, entry, None), entry.key)

    def _load_joined(self, entry: CheckpointsEntry) -> ListedMarks:
        return ListedMarks(JoinedMarks(self.checkpoints(entry), entry.key))

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
    def marks(self) -> ArchiveMarks:
        """Of every checkpoint."""
        return ArchiveMarks(self._older, ListedMarks(tuple(self._recent)), self._load)

    @property
    def entries(self) -> list[Entry]:
        """Those that count, in commit order."""
        return list(self._current.values())

    @property
    def joined(self) -> list[CheckpointsEntry]:
        """Of the checkpoints that were joined, consecutive from the first on."""
        return consecutive(self._current.values())

    @property
    def recipients(self) -> tuple[str, ...]:
        """To whom objects are encrypted behind the newest checkpoint; empty: they are stored in the clear."""
        manifest = self._head.manifest
        changed = manifest.recipients if manifest else None
        return self.config.recipients if changed is None else changed

    @property
    def snapshots(self) -> list[SnapshotEntry]:
        return [e for e in self.entries if isinstance(e, SnapshotEntry)]

    @property
    def backups(self) -> list[BackupEntry]:
        """The catalogue, in commit order."""
        return [e for e in self.entries if isinstance(e, BackupEntry)]

    @property
    def verifications(self) -> list[VerificationEntry]:
        """What was verified, in commit order."""
        return [e for e in self.entries if isinstance(e, VerificationEntry)]

    @property
    def drills(self) -> list[DrillEntry]:
        """Rehearsed recoveries, in commit order."""
        return [e for e in self.entries if isinstance(e, DrillEntry)]

    @property
    def schemas(self) -> list[SchemaEntry]:
        return [e for e in self.entries if isinstance(e, SchemaEntry)]

    @property
    def blobs(self) -> dict[bytes, BlobEntry]:
        """The blobs that the archive holds, by the digest that records name them by."""
        return {e.plain: e for e in self._current.values() if isinstance(e, BlobEntry)}

    def schema_text(self, fingerprint: bytes) -> str | None:
        """The writer schema that was stored under a fingerprint, as JSON; None where there is none."""
        named = next((s for s in self.schemas if s.fingerprint == fingerprint), None)
        return None if named is None else fetch(self.store, named, None).decode()

    @property
    def restorable(self) -> Range | None:
        """The times that can be restored; None where the archive holds no checkpoint."""
        marks = self.marks
        if not len(marks):
            return None
        first = min((held[0].min_time for held in self.segments.values() if held), default=marks.first.time)
        return Range(min(first, marks.first.time), marks.last.time)

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
            backups=[BackupPoint(b.label, b.position, b.snapshot, b.parent) for b in self.backups],
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


def consecutive(entries: Iterable[Entry]) -> list[CheckpointsEntry]:
    """The joined checkpoints among entries, from the first on without a hole or an overlap."""
    found: list[CheckpointsEntry] = []
    held = [entry for entry in entries if isinstance(entry, CheckpointsEntry)]
    for entry in sorted(held, key=lambda entry: (entry.first.n, -entry.last.n)):
        if entry.first.n == (found[-1].last.n + 1 if found else 1):
            found.append(entry)
    return found
