"""The shipper: copies the log into an archive, checkpoint by checkpoint.

One checkpoint: append a heartbeat to control and read it back; then read the log's ends; then store segments of all
that is new up to those ends, the schemas and blobs that they need, the manifest; last the note, which commits. A
shipper that was killed anywhere before the note leaves orphans and nothing else, and the next one starts from the
newest checkpoint. A checkpoint always covers everything up to its ends, since its time says so: whatever was
acknowledged before the heartbeat is in it. A blob that is not at hand alone may come later, and is told.

Nothing is kept but what is under way: memory does not grow with the log.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from events import catalogue
from events.clock import Clock, wall_millis
from events.codec import HEARTBEAT, encode_control, heartbeat
from events.control import read_control
from events.envelope import ID_BYTES
from events.errors import Busy, LogGap, RekamError, Unavailable, UnknownSchema
from events.log import Entry as LogEntry
from events.log import EventLog, Record
from events.position import CONTROL, CONTROL_PARTITION, Partition, Position
from replicator.archive import Archive
from replicator.blobs import BlobReader, BlobShipping, NoBlobs
from replicator.contents import contents
from replicator.continuity import check_continuity
from replicator.entries import Entry, SchemaEntry, SegmentEntry
from replicator.manifest import Generation, Head, following
from replicator.segment import build, segment_key

SEGMENT_BYTES = 4 * 1024 * 1024
"""Plain bytes after which a segment ends."""
RECORD_OVERHEAD_BYTES = 32
"""Counted for each record beside its key and value: many empty records fill a segment too."""
UPLOADS = 4
"""Segments that are encrypted and stored at the same time."""
IDLE_SECONDS = 60.0
"""How often an idle log gets a checkpoint."""
RACES = 5
"""Checkpoints lost to another shipper in a row before giving way."""
LAG_SAMPLE_RECORDS = 10_000
"""Unshipped records whose bytes are counted; more are reckoned from these."""
PAUSE_SECONDS = 1.0
"""Before trying again after the log or the store did not answer."""

ACTOR = {"id": "replicator", "role": "system", "system": "rekam"}


class Shipped(NamedTuple):
    """A checkpoint that was committed."""

    checkpoint: int
    time: int
    """Milliseconds UTC: the archive is complete through here."""
    position: Position
    segments: int
    records: int
    size_bytes: int
    """Stored bytes of the new objects that the checkpoint names."""
    note: bytes
    """Keep the newest one outside the archive: it shows a rollback."""
    missing_blobs: int = 0
    """Blobs that its records name and that could not be shipped: they are not here. The rest went on."""


class Lag(NamedTuple):
    """What the archive does not hold yet."""

    records: int
    size_bytes: int
    exact: bool
    """Whether every byte was counted; else they were reckoned from the first records."""
    age_seconds: float
    """Of the oldest unshipped record; 0 where there is none."""


@dataclass
class Load:
    """What one checkpoint is made of, while it is gathered."""

    entries: list[Entry] = field(default_factory=list)
    tails: dict[Partition, bytes] = field(default_factory=dict)
    fingerprints: set[bytes] = field(default_factory=set)
    blobs: set[bytes] = field(default_factory=set)
    """Digests of those that the records name."""
    records: int = 0


class Shipper:
    """Ships one log into one archive. Not for several threads at once; several shippers only waste work."""

    def __init__(
        self,
        log: EventLog,
        archive: Archive,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        seen: bytes = b"",
        clock: Clock = wall_millis,
        random: Callable[[int], bytes] = os.urandom,
        name: str = "replicator",
        ready: Callable[[], None] = lambda: None,
        blobs: BlobReader | None = None,
    ) -> None:
        """`seen`: the newest note that was seen elsewhere; an archive that was rolled back is not shipped to.

        `ready`: called once it is known what a checkpoint will cover, before it is written: makes sure that all of it
        can be read again (the keys of sealed events are backed up), and raises where it cannot.

        `blobs`: where those that records name are. One that is not there stops nothing: it is told, and shipped once it
        turns up (`blobs.not_held`).
        """
        self._log = log
        self._archive = archive
        self._segment_bytes = segment_bytes
        self._seen = seen
        self._clock = clock
        self._random = random
        self._name = name
        self._ready = ready
        self._blobs: BlobReader = NoBlobs() if blobs is None else blobs
        self._head: Head | None = None

    @property
    def head(self) -> Head:
        """The newest checkpoint as far as this shipper knows; asks the archive the first time."""
        return self._head or self._refreshed()

    def _refreshed(self) -> Head:
        self._head = self._archive.head(self._head, self._head.note if self._head else self._seen)
        return self._head

    def ship_once(self, entries: Sequence[Entry] = ()) -> Shipped:
        """Ships all there is, in however small segments, and commits a checkpoint.

        `entries`: objects stored already (a snapshot) that the checkpoint is to name. Raises Busy where other shippers
        keep winning; LogGap, LogRecreated or ArchiveDiverged where the log does not continue the archive;
        Unavailable: nothing was committed, or it was and the answer was lost; try again.
        """
        for _ in range(RACES):
            head = self._refreshed()
            generation = check_continuity(self._log, head)
            try:
                return self._checkpoint(head, generation, entries)
            except Busy:
                continue
        raise Busy(
            "other shippers keep writing the next checkpoint first", "stop the one that should not run"
        )

    def due(self) -> bool:
        """Whether anything but heartbeats is unshipped, or the last checkpoint is IDLE_SECONDS old."""
        head = self._refreshed()
        if head.time is None or self._clock() - head.time >= IDLE_SECONDS * 1000:
            return True
        end = self._log.end()
        if end.control < head.position.control or any(
            stop != head.position[p] for p, stop in end.items() if p != CONTROL_PARTITION
        ):
            return True  # also where the log lost its end: shipping will say so
        held = head.position.control
        beats = sum(c.body[0] == HEARTBEAT for _, c in read_control(self._log, held, end.control))
        return end.control > held + beats

    def _checkpoint(self, head: Head, generation: Generation, entries: Sequence[Entry]) -> Shipped:
        beat = self._heartbeat()
        end = self._log.end()
        if end.control <= beat.offset:
            raise LogGap(
                f"{CONTROL_PARTITION}: the heartbeat at offset {beat.offset} is not before the log's end"
            )
        self._ready()  # a key is durable before its first event stands on the log, so those up to `end` are known now
        load = self._gather(head, end)
        load.entries[:0] = self._schemas(head, load.fingerprints)
        shipping = BlobShipping(self._archive, self._blobs)
        load.entries += shipping.entries(sorted(load.blobs))
        there = {entry.key for entry in load.entries}
        load.entries += (entry for entry in entries if entry.key not in there)
        known = set(head.manifest.schemas) if head.manifest else set()
        manifest = following(
            head,
            self._archive.config.archive_id,
            beat.time,
            position=end,
            generation=generation,
            topics=dict(self._log.identity()),
            tails={**(head.manifest.tails if head.manifest else {}), **load.tails},
            schemas=tuple(known | {e.fingerprint for e in load.entries if isinstance(e, SchemaEntry)}),
            gaps=head.manifest.gaps if head.manifest else (),
            entries=load.entries,
            code=f"rekam {_release()}",
        )
        self._head = self._archive.commit(head, manifest)
        return Shipped(
            manifest.n,
            manifest.time,
            end,
            sum(isinstance(entry, SegmentEntry) for entry in load.entries),
            load.records,
            sum(entry.size_bytes for entry in load.entries),
            self._head.note,
            len(shipping.missing),
        )

    def _heartbeat(self) -> Record:
        """Appended to control and read back: its log time is the checkpoint's."""
        value = encode_control(
            heartbeat(
                control_id=self._random(ID_BYTES),
                recorded_at=self._clock() * 1000,
                actor=ACTOR,
                shipper=self._name,
            )
        )
        (placed,) = self._log.append(CONTROL, [LogEntry(CONTROL.encode(), value)])
        (batch,) = self._log.read(placed.partition, placed.offset, placed.offset + 1)
        if batch[0].value != value:
            raise LogGap(
                f"{placed.partition}: the heartbeat does not stand at offset {placed.offset} as appended"
            )
        return batch[0]

    def _gather(self, head: Head, end: Position) -> Load:
        """Builds and stores the segments between the head and `end`."""
        load = Load()
        uploads: deque[Future[SegmentEntry]] = deque()
        with ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload") as pool:
            try:
                for partition, records in self._pieces(head.position, end):
                    if len(uploads) >= UPLOADS:
                        load.entries.append(uploads.popleft().result())
                    uploads.append(self._start_upload(pool, load, partition, records))
                load.entries += (upload.result() for upload in uploads)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return load

    def _pieces(self, start: Position, end: Position) -> Iterator[tuple[Partition, list[Record]]]:
        for partition, stop in end.items():
            for records in pieces(self._log, partition, start[partition], stop, self._segment_bytes):
                yield partition, records

    def _start_upload(
        self, pool: ThreadPoolExecutor, load: Load, partition: Partition, records: list[Record]
    ) -> Future[SegmentEntry]:
        segment = build(records)
        found = contents(partition, records)
        load.tails[partition] = segment.last
        load.fingerprints |= found.fingerprints
        load.blobs.update(found.blobs)
        load.records += len(records)
        members = {
            "partition": str(partition),
            "first": segment.first,
            "stop": segment.stop,
            "records": segment.root.hex(),
            "last": segment.last.hex(),
            "plain_size": len(segment.plain),
            **found.members,
        }
        key = partial(segment_key, partition, segment.first, segment.stop, records[0].time)
        return pool.submit(
            lambda: self._archive.add_sealed("segment", key, segment.plain, SegmentEntry, **members)
        )

    def _schemas(self, head: Head, fingerprints: set[bytes]) -> list[Entry]:
        """Stores the schemas that the archive lacks. Fingerprints of foreign values have none that we know."""
        known = set(head.manifest.schemas) if head.manifest else set()
        found: list[Entry] = []
        for fingerprint in sorted(fingerprints - known):
            try:
                text = catalogue.schema_json(fingerprint)
            except UnknownSchema:
                continue
            found.append(self._add_schema(fingerprint.hex(), text))
        return found

    def _add_schema(self, fingerprint: str, text: str) -> Entry:
        return self._archive.add_plain(
            "schema",
            lambda digest, _: f"schemas/{fingerprint}-{digest}.avsc",
            text.encode(),
            SchemaEntry,
            fingerprint=fingerprint,
        )

    def lag(self) -> Lag:
        """What the archive does not hold yet. Raises Unavailable."""
        head, end = self._refreshed(), self._log.end()
        records = size_bytes = counted = 0
        oldest: int | None = None
        for partition, stop in end.items():
            start = min(head.position[partition], stop)
            records += stop - start
            sample = min(stop, start + LAG_SAMPLE_RECORDS)
            for batch in self._log.read(partition, start, sample):
                counted += len(batch)
                size_bytes += sum(_size(record) for record in batch)
                oldest = min(batch[0].time, batch[0].time if oldest is None else oldest)
        if counted < records:
            size_bytes = size_bytes * records // counted
        age = 0.0 if oldest is None else max(0.0, (self._clock() - oldest) / 1000)
        return Lag(records, size_bytes, counted == records, age)

    def run(
        self,
        stop: threading.Event,
        interval_seconds: float,
        report: Callable[[Shipped | RekamError], None] = lambda _: None,
    ) -> None:
        """Ships whatever is due every interval until `stop` is set.

        Goes on after Unavailable and Busy (reported each time); everything else is raised: it needs a person.
        """
        while not stop.is_set():
            pause = interval_seconds
            try:
                if self.due():
                    report(self.ship_once())
            except (Unavailable, Busy) as error:
                report(error)
                pause = min(PAUSE_SECONDS, interval_seconds)
            stop.wait(pause)


def pieces(
    log: EventLog, partition: Partition, start: int, stop: int, segment_bytes: int
) -> Iterator[list[Record]]:
    """The records of a range in lists of about `segment_bytes`. Raises as the log's `read`."""
    piece: list[Record] = []
    size = 0
    for batch in log.read(partition, start, stop):
        for record in batch:
            piece.append(record)
            size += _size(record)
            if size >= segment_bytes:
                yield piece
                piece, size = [], 0
    if piece:
        yield piece


def _size(record: Record) -> int:
    return len(record.value or b"") + len(record.key or b"") + RECORD_OVERHEAD_BYTES


def _release() -> str:
    try:
        return version("rekam")
    except PackageNotFoundError:
        return "(not installed)"
