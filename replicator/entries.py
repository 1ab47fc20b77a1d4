"""Entries: what a checkpoint's manifest says of each new object. The leaf of an entry is its canonical JSON.

The JSON is kept as it stands in the manifest (`raw`), because that is what was hashed, fields of a newer writer
included. docs/archive-format.md lists the members.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from events.envelope import Epoch
from events.errors import BadConfiguration, BadInput, Corrupt
from events.position import Partition, Position
from events.rules import Link
from replicator.canonical import encoded
from replicator.note import Verifier
from replicator.stores import check_key

Json: TypeAlias = dict[str, Any]
DIGEST_BYTES = 32


@dataclass(frozen=True)
class Entry:
    """An object of the archive: where it is, and what its bytes must be."""

    kind: str
    key: str
    stored: bytes
    """SHA-256 of the bytes in the store."""
    plain: bytes
    """SHA-256 of the bytes before encryption."""
    size_bytes: int
    """Stored bytes."""
    raw: Json = field(repr=False, compare=False)

    def leaf(self) -> bytes:
        """What the archive's tree is made of."""
        return encoded(self.raw)

    @property
    def replaces(self) -> tuple[str, ...]:
        """Keys of the objects that do not count any more since this one stands."""
        return tuple(self.raw.get("replaces", ()))


@dataclass(frozen=True)
class SegmentEntry(Entry):
    """A segment: a range of one partition."""

    partition: Partition
    first: int
    stop: int
    root: bytes
    """Of the tree over its records."""
    last: bytes
    """The leaf hash of its last record."""
    plain_bytes: int
    first_time: int
    last_time: int
    min_time: int
    max_time: int
    """Log times, milliseconds UTC."""
    epochs: tuple[tuple[Epoch | None, int], ...]
    """(epoch, the first offset that names it), by offset."""
    rewinds: tuple[tuple[Epoch, int], ...]
    """On control: (epoch, offset) of each rewind record."""
    blobs: tuple[bytes, ...]
    """Digests of the blobs that its records name, in order."""


@dataclass(frozen=True)
class SchemaEntry(Entry):
    """A writer schema that the archive's values need."""

    fingerprint: bytes


@dataclass(frozen=True)
class BlobEntry(Entry):
    """A blob that records name; `plain` is the digest that they name it by."""


@dataclass(frozen=True)
class SnapshotEntry(Entry):
    """A snapshot: the tables at one position. Its key is its manifest's."""

    id: str
    position: Position
    links: tuple[Link, ...]
    """The chain that the tables stand at."""
    rows: int
    parts_bytes: int
    """Stored bytes of its tables."""


@dataclass(frozen=True)
class End:
    """What the first or the last checkpoint of several says of itself."""

    n: int
    time: int
    position: Position
    leaves: int
    """The size of the archive's tree that its note signs."""


@dataclass(frozen=True)
class CheckpointsEntry(Entry):
    """Consecutive checkpoints joined in one object."""

    first: End
    last: End


@dataclass(frozen=True)
class SummaryEntry(Entry):
    """What checkpoints 1 to n say together."""

    n: int


@dataclass(frozen=True)
class BackupEntry(Entry):
    """A backup of the catalogue: what decides when the next is due and what builds on it. See backups.py."""

    label: str
    backup: str
    """Its kind."""
    begun: int
    complete_through: int
    """Milliseconds UTC."""
    checkpoint: int
    """The number of the checkpoint that it builds on: the next one, or a later one, names it."""
    position: Position
    parent: str | None
    """The label of the backup that it builds on."""
    snapshot: str | None


@dataclass(frozen=True)
class VerificationEntry(Entry):
    """What a verification found, as far as decisions need it. See verifications.py."""

    label: str | None
    """The backup that was verified; None: all that counted at `checkpoint`."""
    depth: str
    outcome: str
    time: int
    """When it began, milliseconds UTC."""
    checkpoint: int
    """The newest when it began."""
    restored: tuple[str, ...]
    """The labels of the backups that were restored and compared."""


@dataclass(frozen=True)
class DrillEntry(Entry):
    """A rehearsed recovery. See drills.py."""

    time: int
    target: int
    """The moment that was recovered to; both milliseconds UTC."""
    outcome: str
    rto_millis: int
    rpo_millis: int


@dataclass(frozen=True)
class ErasureEntry(Entry):
    """An entry of the ledger of erasures."""

    n: int


@dataclass(frozen=True)
class RecipientsEntry(Entry):
    """To whom objects are encrypted behind the checkpoint that names it."""

    recipients: tuple[str, ...]


@dataclass(frozen=True)
class SignerEntry(Entry):
    """Which key signs the checkpoints behind the one that names it. See trust.py."""

    previous: Verifier
    """In force up to that checkpoint, which it signs too."""
    verifier: Verifier


def entry_json(kind: str, key: str, stored: bytes, plain: bytes, size_bytes: int, **members: Any) -> Json:
    """The JSON of an entry; `parse_entry` makes the entry of it."""
    return {
        "kind": kind,
        "key": key,
        "stored": stored.hex(),
        "plain": plain.hex(),
        "size": size_bytes,
        **members,
    }


def parse_entry(raw: Json, where: str) -> Entry:
    """Raises Corrupt naming `where` (a manifest). Kinds that this release does not know stay plain entries."""
    try:
        common: Json = {
            "kind": _text(raw["kind"]),
            "key": check_key(_text(raw["key"])),
            "stored": digest(raw["stored"]),
            "plain": digest(raw["plain"]),
            "size_bytes": natural(raw["size"]),
            "raw": raw,
        }
        for key in raw.get("replaces", ()):
            check_key(_text(key))
        parse = _KINDS.get(common["kind"])
        return parse(raw, common) if parse else Entry(**common)
    except (KeyError, TypeError, ValueError, AttributeError, BadInput, BadConfiguration) as error:
        raise Corrupt(f"{where} holds an entry that is not one ({error!r})") from None


def _segment(raw: Json, common: Json) -> SegmentEntry:
    time = raw["time"]
    entry = SegmentEntry(
        **common,
        partition=Partition.parse(raw["partition"]),
        first=natural(raw["first"]),
        stop=natural(raw["stop"]),
        root=digest(raw["records"]),
        last=digest(raw["last"]),
        plain_bytes=natural(raw["plain_size"]),
        first_time=int(time["first"]),
        last_time=int(time["last"]),
        min_time=int(time["min"]),
        max_time=int(time["max"]),
        epochs=tuple((epoch_of(epoch), natural(offset)) for epoch, offset in raw["epochs"]),
        rewinds=tuple((bytes.fromhex(epoch), natural(offset)) for epoch, offset in raw["rewinds"]),
        blobs=tuple(digest(text) for text in raw.get("blobs", ())),
    )
    if entry.first >= entry.stop:
        raise ValueError("an empty range")
    return entry


def _schema(raw: Json, common: Json) -> SchemaEntry:
    return SchemaEntry(**common, fingerprint=bytes.fromhex(raw["fingerprint"]))


def _blob(raw: Json, common: Json) -> BlobEntry:
    return BlobEntry(**common)


def _snapshot(raw: Json, common: Json) -> SnapshotEntry:
    return SnapshotEntry(
        **common,
        id=_text(raw["id"]),
        position=Position.from_json(raw["position"]),
        links=links_from_json(raw["links"]),
        rows=natural(raw["rows"]),
        parts_bytes=natural(raw["parts_size"]),
    )


def _checkpoints(raw: Json, common: Json) -> CheckpointsEntry:
    entry = CheckpointsEntry(**common, first=_end(raw["first"]), last=_end(raw["last"]))
    if entry.first.n > entry.last.n:
        raise ValueError("an empty range")
    return entry


def end_json(end: End) -> Json:
    return {"n": end.n, "time": end.time, "position": end.position.to_json(), "leaves": end.leaves}


def _end(raw: Json) -> End:
    return End(
        natural(raw["n"]), natural(raw["time"]), Position.from_json(raw["position"]), natural(raw["leaves"])
    )


def _summary(raw: Json, common: Json) -> SummaryEntry:
    return SummaryEntry(**common, n=natural(raw["n"]))


def _backup(raw: Json, common: Json) -> BackupEntry:
    parent, snapshot = raw["parent"], raw["snapshot"]
    return BackupEntry(
        **common,
        label=_text(raw["label"]),
        backup=_text(raw["backup"]),
        begun=natural(raw["begun"]),
        complete_through=natural(raw["complete_through"]),
        checkpoint=natural(raw["checkpoint"]),
        position=Position.from_json(raw["position"]),
        parent=None if parent is None else _text(parent),
        snapshot=None if snapshot is None else _text(snapshot),
    )


def _verification(raw: Json, common: Json) -> VerificationEntry:
    return VerificationEntry(
        **common,
        label=None if raw["label"] is None else _text(raw["label"]),
        depth=_text(raw["depth"]),
        outcome=_text(raw["outcome"]),
        time=natural(raw["time"]),
        checkpoint=natural(raw["checkpoint"]),
        restored=tuple(_text(label) for label in raw["restored"]),
    )


def _drill(raw: Json, common: Json) -> DrillEntry:
    return DrillEntry(
        **common,
        time=natural(raw["time"]),
        target=natural(raw["target"]),
        outcome=_text(raw["outcome"]),
        rto_millis=natural(raw["rto_millis"]),
        rpo_millis=natural(raw["rpo_millis"]),
    )


def _erasure(raw: Json, common: Json) -> ErasureEntry:
    return ErasureEntry(**common, n=natural(raw["n"]))


def _recipients(raw: Json, common: Json) -> RecipientsEntry:
    return RecipientsEntry(**common, recipients=tuple(_text(one) for one in raw["recipients"]))


def _signer(raw: Json, common: Json) -> SignerEntry:
    return SignerEntry(
        **common, previous=Verifier.parse(raw["previous"]), verifier=Verifier.parse(raw["verifier"])
    )


_KINDS = {
    "verification": _verification,
    "backup": _backup,
    "segment": _segment,
    "schema": _schema,
    "blob": _blob,
    "snapshot": _snapshot,
    "checkpoints": _checkpoints,
    "summary": _summary,
    "erasure": _erasure,
    "drill": _drill,
    "recipients": _recipients,
    "signer": _signer,
}


def links_to_json(links: Sequence[Link]) -> list[Any]:
    return [[epoch_text(link.epoch), link.stop.to_json()] for link in links]


def links_from_json(value: Sequence[Any]) -> tuple[Link, ...]:
    return tuple(Link(epoch_of(epoch), Position.from_json(stop)) for epoch, stop in value)


def epoch_text(epoch: Epoch | None) -> str | None:
    return None if epoch is None else epoch.hex()


def epoch_of(text: str | None) -> Epoch | None:
    return None if text is None else bytes.fromhex(text)


def digest(text: str) -> bytes:
    """Raises ValueError."""
    raw = bytes.fromhex(text)
    if len(raw) != DIGEST_BYTES or raw.hex() != text:
        raise ValueError("not a digest")
    return raw


def natural(value: Any) -> int:
    """Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not a natural number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value
