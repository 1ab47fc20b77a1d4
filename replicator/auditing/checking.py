"""Checking evidence, offline: whatever the file says is computed anew from what the signature and the trees hold."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.attachments import Kept, NoKey, files_of, open_blob
from events.avro_schema import fingerprint
from events.blobs import named_by
from events.catalogue import SEALED
from events.codec import MAGIC, Control, as_rewind, decode_control, decode_events
from events.envelope import Event, EventId
from events.errors import BadInput, Corrupt
from events.log import Record
from events.position import CONTROL_PARTITION, EVENTS, Partition, Position
from events.rules import EMPTY, Effect, Head, Rewind, Verdict, judge_version
from events.sealing import unseal
from replicator.auditing.evidence import FORMAT, KIND, fingerprint_of, statement_text
from replicator.canonical import canonical, encoded, parse_canonical
from replicator.entries import Entry, SchemaEntry, SegmentEntry, digest, natural, parse_entry
from replicator.holes import holes
from replicator.manifest import Manifest, manifest_leaf, parse_manifest
from replicator.merkle import leaf_hash, root_from_inclusion
from replicator.note import TreeHead, Verifier, parse_head, split_note
from replicator.outcome import Outcome
from replicator.segment import read_record
from replicator.trust import Keyring, carried

BLOBS = "blobs"
"""The member that is there only where files were attached."""
_MEMBERS = {
    *("kind", "format", "stream", "at", "position", "segments", "schemas", "keys"),
    *("note", "manifest", "manifest_path"),
}

PROVEN = (
    "each event stands in the clinic's archive, unchanged, at its place and log time",
    "each event that took effect was decided on the one before it: none between two of them was left out",
    "all rewinds that the archive names up to that position are in the file: what took effect follows from them",
)
NOT_PROVEN = (
    "that no event behind the last of these was left out",
    "that the clinic signed no other history: compare the checkpoint's root with one that was kept elsewhere",
    "that what was recorded is true",
)


class AttachedFile(NamedTuple):
    """A file that an event of the patient names."""

    partition: Partition
    offset: int
    """Of the event."""
    kept: Kept
    content: bytes | None
    """None where it is not in the file, or the key that opens it is not."""
    is_there: bool
    """Whether its blob is in the file: proven, opened or not."""


class Proven(NamedTuple):
    """One event of the patient that the archive holds."""

    partition: Partition
    record: Record
    event: Event | None
    """None where this release cannot read it."""
    verdict: Verdict | None


@dataclass(frozen=True)
class Evidence:
    """What a file proves."""

    stream: str
    at: int | None
    position: Position
    manifest: Manifest
    head: TreeHead
    events: tuple[Proven, ...]
    rewinds: tuple[tuple[int, Rewind], ...]
    files: tuple[AttachedFile, ...]
    stated_by: str | None
    """Who signed that nothing was left out, and which moment it is of; None: nobody."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is inconclusive."""
        verdicts = {one.verdict for one in self.events}
        found = {
            "nobody signed which position the moment stands for": self.at is not None
            and self.stated_by is None,
            "an event before one of these is not in the file": Verdict.AHEAD in verdicts,
            "no rewind of the archive bears the epoch of one of these events": Verdict.UNKNOWN_EPOCH
            in verdicts,
            "this release cannot read one of the events": None in verdicts,
            "an attached file that an event names is not in the file": not all(
                file.is_there for file in self.files
            ),
        }
        return tuple(reason for reason, holds in found.items() if holds)

    @property
    def outcome(self) -> Outcome:
        return Outcome.INCONCLUSIVE if self.reasons else Outcome.OK


def check_evidence(data: bytes, verifier: Verifier, where: str) -> Evidence:
    """Raises Corrupt naming `where` and what does not fit."""
    raw = parse_canonical(data[:-1] if data.endswith(b"\n") else b"", where)
    try:
        keys = carried(verifier, [str(statement) for statement in raw.get("signers", ())])
        stated_by = verifier.name if _check_whole(raw, keys, where) else None
        return _Checking(raw, keys, where).evidence(stated_by)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, BadInput) as error:
        raise Corrupt(f"{where} is not evidence of format {FORMAT} ({type(error).__name__})") from None


def _check_whole(raw: dict[str, Any], keys: Keyring, where: str) -> bool:
    """Whether somebody with the clinic's key states it. Raises Corrupt."""
    value = {name: member for name, member in raw.items() if name not in ("digest", "statement")}
    if set(value) - {"signers", BLOBS} != _MEMBERS or (raw["kind"], raw["format"]) != (KIND, FORMAT):
        raise Corrupt(f"{where} is not evidence of format {FORMAT}")
    if hashlib.sha256(canonical(value)).hexdigest() != raw["digest"]:
        raise Corrupt(f"{where} was changed: its digest does not fit")
    if raw["statement"] is None:
        return False
    if _signed_alone(raw["statement"], keys, f"{where}: its statement") != statement_text(raw["digest"]):
        raise Corrupt(f"{where}: what was signed is another file")
    return True


def _signed_alone(note: str, keys: Keyring, where: str) -> bytes:
    """The text of a note that bears one such key's signature and no other line, which nobody would have verified."""
    text, _ = keys.open_newest(note.encode(), where)
    if len(split_note(note.encode(), where)[1]) != 1:
        raise Corrupt(f"{where} bears other signatures too")
    return text


class _Checking:
    """One file on its way."""

    def __init__(self, raw: dict[str, Any], keys: Keyring, where: str) -> None:
        self._raw, self._where = raw, where
        note = f"{where}: the checkpoint's note"
        self._head = parse_head(_signed_alone(raw["note"], keys, note), note)
        self._manifest = self._read_manifest()
        self._secrets = {name: bytes.fromhex(secret) for name, secret in raw["keys"].items()}
        self._ciphers = {name: AESGCM(secret) for name, secret in self._secrets.items()}

    def evidence(self, stated_by: str | None) -> Evidence:
        raw, stream = self._raw, self._raw["stream"]
        at = None if raw["at"] is None else natural(raw["at"])
        position = Position.from_json(raw["position"])
        whole = self._manifest.position
        if not whole.covers(position) or (at is None and position != whole) or stream != str(stream):
            raise self._wrong("its position is not one of the checkpoint's")
        segments = [
            (entry, list(self._records(entry, one)))
            for one in raw["segments"]
            for entry in [self._segment(one)]
        ]
        schemas = {self._schema(one) for one in raw["schemas"]}
        rewinds = self._rewinds(segments, position)
        events = self._events(segments, stream, position, schemas)
        judged = tuple(self._opened(one) for one in _judged(events, Effect(rewinds, position)))
        if any(one.event.stream != stream for one in judged if one.event):
            raise self._wrong("an event in it is of another stream")
        files = tuple(self._files(judged, stream))
        return Evidence(
            stream, at, position, self._manifest, self._head, judged, tuple(rewinds), files, stated_by
        )

    def _wrong(self, what: str) -> Corrupt:
        return Corrupt(f"{self._where}: {what}")

    # What is proven of each part

    def _read_manifest(self) -> Manifest:
        data = self._raw["manifest"].encode()
        manifest = parse_manifest(data, f"{self._where}: the checkpoint's manifest")
        self._stands(
            manifest_leaf(manifest.n, data), self._head.size - 1, self._raw["manifest_path"], "the manifest"
        )
        return manifest

    def _stands(self, leaf: bytes, place: int, path: Sequence[str], what: str) -> None:
        steps = [digest(step) for step in path]
        if root_from_inclusion(leaf, place, self._head.size, steps) != self._head.root:
            raise self._wrong(f"{what} does not stand in the tree that the note signs")

    def _entry(self, one: dict[str, Any]) -> Entry:
        entry = parse_entry(one["entry"], self._where)
        self._stands(leaf_hash(encoded(one["entry"])), natural(one["index"]), one["path"], entry.key)
        return entry

    def _segment(self, one: dict[str, Any]) -> SegmentEntry:
        entry = self._entry(one)
        if not isinstance(entry, SegmentEntry) or set(one) != {"entry", "index", "path", "records"}:
            raise self._wrong(f"{entry.key} is not told as a segment")
        return entry

    def _records(self, entry: SegmentEntry, one: dict[str, Any]) -> Iterator[Record]:
        for told in one["records"]:
            data = base64.b64decode(told["record"], validate=True)
            record = read_record(data, self._where)
            steps = [digest(step) for step in told["path"]]
            place, size = record.offset - entry.first, entry.stop - entry.first
            if root_from_inclusion(leaf_hash(data), place, size, steps) != entry.root or set(told) != {
                "record",
                "path",
            }:
                raise self._wrong(f"a record does not stand at {entry.partition}@{record.offset}")
            yield record

    def _schema(self, one: dict[str, Any]) -> bytes:
        entry, text = self._entry(one), one["text"]
        if (
            not isinstance(entry, SchemaEntry)
            or hashlib.sha256(text.encode()).digest() != entry.stored
            or fingerprint(json.loads(text)) != entry.fingerprint
        ):
            raise self._wrong(f"{entry.key} is not the schema that was stored")
        return entry.fingerprint

    # What they come to

    def _rewinds(
        self, segments: Sequence[tuple[SegmentEntry, list[Record]]], position: Position
    ) -> list[tuple[int, Rewind]]:
        """All those that control's entries name before the position: the entries join, so none is left out."""
        control = [(e, records) for e, records in segments if e.partition == CONTROL_PARTITION]
        held = {CONTROL_PARTITION: [e for e, _ in control]}
        stop = max([position.control, *(e.stop for e, _ in control)])
        first, gaps = (control[0][0].first if control else 0), self._manifest.gaps
        begun = first == 0 or any(
            (g.partition, g.first, g.stop) == (CONTROL_PARTITION, 0, first) for g in gaps
        )
        if not begun or list(holes(held, Position({CONTROL_PARTITION: stop}), gaps)):
            raise self._wrong("control's segments in it do not join")
        named = [
            (offset, epoch) for e, _ in control for epoch, offset in e.rewinds if offset < position.control
        ]
        found = [(record.offset, self._rewind(record)) for _, records in control for record in records]
        if [(offset, rewind.epoch) for offset, rewind in found] != named:
            raise self._wrong("its rewinds are not those that control's entries name")
        return found

    def _opened(self, one: Proven) -> Proven:
        """With its payload, where its key is in the file: a key that is not the one that sealed it opens nothing."""
        event = one.event
        if event is None or event.payload[0] != SEALED or event.payload[1]["key_id"] not in self._ciphers:
            return one
        payload = unseal(event, self._ciphers[event.payload[1]["key_id"]])
        if payload is None:
            raise self._wrong(f"the key in it does not open {one.partition}@{one.record.offset}")
        return one._replace(event=event._replace(payload=payload))

    def _files(self, events: Sequence[Proven], stream: str) -> Iterator[AttachedFile]:
        """Each file that an event names, opened where its key is in the file; a blob that no record names is none."""
        named = {digest for one in events for digest in named_by(one.record.headers)}
        blobs = {bytes.fromhex(name): data for name, data in self._raw.get(BLOBS, {}).items()}
        if not blobs.keys() <= named:
            raise self._wrong("it holds an attached file that no event in it names")
        held = {digest: self._blob(digest, data) for digest, data in blobs.items()}
        for one in events:
            told = files_of(one.event.payload) if one.event else []
            for kept in told:
                data = held.get(kept.blob_sha256)
                content = None if data is None else self._content(data, stream, kept)
                yield AttachedFile(one.partition, one.record.offset, kept, content, data is not None)

    def _blob(self, blob: bytes, text: str) -> bytes:
        data = base64.b64decode(text, validate=True)
        if hashlib.sha256(data).digest() != blob:
            raise self._wrong(f"the attached file {blob.hex()} in it has other bytes")
        return data

    def _content(self, data: bytes, stream: str, kept: Kept) -> bytes | None:
        try:
            return open_blob(data, stream, kept.content_sha256, kept.size_bytes, self._secrets.get)
        except NoKey:
            return None
        except Corrupt as error:
            raise self._wrong(f"the attached file {kept.blob_sha256.hex()}: {error.message}") from None

    def _rewind(self, record: Record) -> Rewind:
        control = decode_control(record.value)
        rewind = as_rewind(control) if isinstance(control, Control) else None
        if rewind is None:
            raise self._wrong(f"{CONTROL_PARTITION}@{record.offset} is not a rewind")
        return rewind

    def _events(
        self,
        segments: Sequence[tuple[SegmentEntry, list[Record]]],
        stream: str,
        position: Position,
        schemas: set[bytes],
    ) -> list[tuple[Partition, Record]]:
        found = [
            (e.partition, r) for e, records in segments if e.partition != CONTROL_PARTITION for r in records
        ]
        offsets = [record.offset for _, record in found]
        if len({partition for partition, _ in found}) != 1 or offsets != sorted(set(offsets)):
            raise self._wrong("it holds no events, or not in the order of one partition")
        for partition, record in found:
            value = record.value or b""
            if (
                partition.topic != EVENTS
                or record.key != stream.encode()
                or record.offset >= position[partition]
            ):
                raise self._wrong(
                    f"{partition}@{record.offset} is not an event of this patient before that position"
                )
            if value.startswith(MAGIC) and fingerprint_of(value) not in schemas:
                raise self._wrong(f"the schema of {partition}@{record.offset} is not in it")
        return found


def _judged(events: Sequence[tuple[Partition, Record]], effect: Effect) -> Iterator[Proven]:
    """By the two rules, in log order."""
    head: Head = EMPTY
    applied: set[tuple[EventId, int]] = set()
    decoded = decode_events([record.value for _, record in events])
    for (partition, record), event in zip(events, decoded, strict=True):
        if not isinstance(event, Event):
            yield Proven(partition, record, None, None)
            continue
        verdict = effect.judge(event.epoch, partition, record.offset)
        if verdict is None:
            verdict = judge_version(head, event, (event.event_id, event.version) in applied)
        if verdict is Verdict.APPLIED:
            head = Head(event.version, event.event_id)
            applied.add((event.event_id, event.version))
        yield Proven(partition, record, event, verdict)
