"""Evidence: one patient's events with their proofs, in one file that needs nothing else but the key on the sheet.

Each record is proven to stand in its segment's tree, and the segment in the archive's tree, whose root the newest
checkpoint's note signs. All of control's segments stand in it with their proofs, because their entries name every
rewind: so no rewind can be left out. What nothing proves (that no event behind the last one was left out; which moment
the position stands for) is stated by whoever made the file, under the clinic's signature where there is a key.
What is sealed stands in it sealed, as it was signed, beside the patient's keys that open it. Attached files stand in it
as the blobs whose digests the events, and the headers of their records, name: so they are proven with them.
The hashes of neighbours in a tree say nothing of what they are hashes of, so no other patient is disclosed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events.blobs import named_by
from events.codec import BODY, MAGIC
from events.errors import ArchiveDiverged, BadInput
from events.log import Record
from events.position import CONTROL_PARTITION, Partition, Position
from replicator.archive_index import ArchiveIndex
from replicator.canonical import canonical
from replicator.checkpoints import checkpoints_after, leaves_of
from replicator.config import read_config
from replicator.entries import Entry, SegmentEntry
from replicator.fetching import fetch, fetch_ahead
from replicator.holes import covering
from replicator.manifest import config_leaf
from replicator.merkle import leaf_hash, root_and_paths
from replicator.note import Signer, sign_note
from replicator.rotations import statements_of
from replicator.segment import read_record, split_segment

KIND = "rekam evidence"
FORMAT = 1

Offsets = Mapping[Partition, Collection[int]]


@dataclass(frozen=True)
class Moment:
    """What the evidence is of: everything before a position of the archive."""

    position: Position
    time: int | None = None
    """The time that was asked for, milliseconds UTC; None: all that the newest checkpoint covers."""


def make_evidence(
    index: ArchiveIndex,
    stream: str,
    offsets: Offsets,
    moment: Moment,
    signer: Signer | None = None,
    keys: Mapping[str, bytes] | None = None,
) -> bytes:
    """The file. `offsets`: where the patient's events stand, all before the moment. `keys`: those that open them.

    Raises as `fetching.fetch`, ArchiveDiverged where the archive is not what it signs, BadInput without an event.
    """
    if not any(offsets.values()):
        raise BadInput(
            "the archive holds no event of this patient before that", "ship first, or name another time"
        )
    wanted = _wanted(index, offsets, moment.position.control)
    entries = [entry for entry, _ in wanted.values()]
    told: dict[str, dict[str, Any]] = {entry.key: {"entry": entry.raw, "records": []} for entry in entries}
    fingerprints: set[bytes] = set()
    named: set[bytes] = set()
    for segment, plain in fetch_ahead(
        index.store, [e for e in entries if wanted[e.key][1]], index.identity_key
    ):
        told[segment.key]["records"] = _records(segment, plain, wanted[segment.key][1], fingerprints, named)
    schemas = [schema for schema in index.schemas if schema.fingerprint in fingerprints]
    for schema in schemas:
        told[schema.key] = {"entry": schema.raw, "text": fetch(index.store, schema, None).decode()}
    newest = _prove(index, [*entries, *schemas], told)
    value = {
        "kind": KIND,
        "format": FORMAT,
        "stream": stream,
        "at": moment.time,
        "position": moment.position.to_json(),
        "segments": [told[entry.key] for entry in entries],
        "schemas": [told[schema.key] for schema in schemas],
        "keys": {name: secret.hex() for name, secret in (keys or {}).items()},
        **newest,
        **({"signers": signers} if (signers := statements_of(index)) else {}),
    }
    if blobs := _blobs(index, named):
        value["blobs"] = blobs
    return finished(value, signer)


def records_of(data: bytes) -> Iterator[Record]:
    """The patient's records in a file that `make_evidence` made."""
    for segment in json.loads(data)["segments"]:
        if segment["entry"]["partition"] != str(CONTROL_PARTITION):
            for told in segment["records"]:
                yield read_record(base64.b64decode(told["record"]), segment["entry"]["key"])


def finished(value: dict[str, Any], signer: Signer | None) -> bytes:
    """With a digest over all of it, and the clinic's signature on that."""
    whole = hashlib.sha256(canonical(value)).hexdigest()
    statement = None if signer is None else sign_note(statement_text(whole), [signer]).decode()
    return canonical({**value, "digest": whole, "statement": statement}) + b"\n"


def statement_text(digest: str) -> bytes:
    """What is signed: two lines, so that it cannot pass for a checkpoint, which has three."""
    return f"{KIND}\n{digest}\n".encode()


def _wanted(index: ArchiveIndex, offsets: Offsets, control: int) -> dict[str, tuple[SegmentEntry, list[int]]]:
    """key -> the segment and which of its offsets: control's all, with their rewinds; then those with events."""
    found = {
        entry.key: (entry, [offset for _, offset in entry.rewinds if offset < control])
        for entry in index.segments.get(CONTROL_PARTITION, ())
        if entry.first < control
    }
    for partition, of_partition in sorted(offsets.items()):
        for offset in sorted(of_partition):
            (entry,) = covering(index.segments, partition, offset, offset + 1)
            found.setdefault(entry.key, (entry, []))[1].append(offset)
    return found


def _records(
    entry: SegmentEntry, plain: bytes, offsets: Sequence[int], fingerprints: set[bytes], named: set[bytes]
) -> list[dict[str, Any]]:
    records = split_segment(plain, entry.first, entry.stop, entry.key)
    sha256 = hashlib.sha256
    leaves = [sha256(b"\0" + record).digest() for record in records]
    root, paths = root_and_paths(leaves, (offset - entry.first for offset in offsets))
    if root != entry.root:
        raise _not_signed(entry.key)
    kept = [records[offset - entry.first] for offset in offsets]
    for record in (read_record(one, entry.key) for one in kept):
        if record.value is not None and record.value.startswith(MAGIC):
            fingerprints.add(fingerprint_of(record.value))
        named.update(named_by(record.headers))
    return [
        {"record": base64.b64encode(record).decode(), "path": _hex(paths[offset - entry.first])}
        for record, offset in zip(kept, offsets, strict=True)
    ]


def _blobs(index: ArchiveIndex, named: Collection[bytes]) -> dict[str, str]:
    """digest -> base64, of those that the archive holds. Raises as `fetching.fetch`."""
    held = index.blobs
    entries = [held[digest] for digest in sorted(named) if digest in held]
    return {
        entry.plain.hex(): base64.b64encode(data).decode()
        for entry, data in fetch_ahead(index.store, entries, index.identity_key)
    }


def fingerprint_of(value: bytes) -> bytes:
    """Of the schema that a value of ours says it is written in."""
    return value[len(MAGIC) : BODY]


def _prove(
    index: ArchiveIndex, entries: Sequence[Entry], told: Mapping[str, dict[str, Any]]
) -> dict[str, str | list[str]]:
    """Adds to what is told of each entry its place in the tree; gives the newest checkpoint with its own."""
    tree = _Tree(index)
    waiting = {leaf_hash(entry.leaf()): entry.key for entry in entries}
    places = {waiting[leaf]: place for place, leaf in enumerate(tree.leaves) if leaf in waiting}
    last = len(tree.leaves) - 1
    root, paths = root_and_paths(tree.leaves, [*places.values(), last])
    if (root, last + 1) != (index.head.tree.root(), index.head.tree.size) or len(places) != len(waiting):
        raise _not_signed("checkpoints")
    for key, place in places.items():
        told[key].update(index=place, path=_hex(paths[place]))
    return {"note": tree.note, "manifest": tree.manifest, "manifest_path": _hex(paths[last])}


class _Tree:
    """The leaves of the archive's tree up to an index's newest checkpoint, and that checkpoint."""

    def __init__(self, index: ArchiveIndex) -> None:
        _, data = read_config(index.store)
        self.leaves = [config_leaf(data)]
        self.note = self.manifest = ""
        for read in checkpoints_after(index.store, 0, index.config.origin, index.keys):
            if read.n > index.head.n:
                break
            raw, new = leaves_of(read)
            self.leaves += new
            self.note, self.manifest = read.note.decode(), raw.decode()


def _hex(path: Iterable[bytes]) -> list[str]:
    return [step.hex() for step in path]


def _not_signed(where: str) -> ArchiveDiverged:
    return ArchiveDiverged(
        f"{where}: what stands there is not what was signed", "look with 'rekam audit verify'"
    )
