"""The records of a segment against what its entry claims: its tree, offsets, times, epochs, rewinds, blobs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from events.envelope import Epoch
from events.errors import LostData
from replicator import merkle
from replicator.auditing.findings import Finding, What
from replicator.auditing.folding import Piece
from replicator.contents import contents
from replicator.entries import SegmentEntry
from replicator.entries import epoch_of as epoch
from replicator.record_bytes import encode_records
from replicator.segment import contiguous, read_blocks, sync_marker
from replicator.snapshot import Part, decode_part


class Looked(NamedTuple):
    """What was seen of an object's plain bytes."""

    findings: tuple[Finding, ...] = ()
    records: int = 0
    fingerprints: frozenset[bytes] = frozenset()
    """Of the schemas that its values say they are written in."""


def look_at_segment(entry: SegmentEntry, plain: bytes, pieces: Sequence[Piece] = ()) -> Looked:
    """`pieces`: the ranges that it was merged from, each with the root that an earlier checkpoint signed."""
    seen = _Seen(entry)
    try:
        for batch in contiguous(
            read_blocks(plain, entry.key, entry.first), entry.first, entry.stop, entry.key
        ):
            seen.add(batch)
    except LostData as error:
        where = f"{entry.key}, from offset {entry.first + len(seen.leaves)} on"
        return Looked((Finding(What.EDITED, where, error.message),), len(seen.leaves))
    return Looked(tuple(seen.judge(plain, pieces)), len(seen.leaves), frozenset(seen.fingerprints))


class _Seen:
    """What a segment's records came to."""

    def __init__(self, entry: SegmentEntry) -> None:
        self._entry = entry
        self.leaves: list[bytes] = []
        self.fingerprints: set[bytes] = set()
        self._times: list[tuple[int, int, int, int]] = []
        self._epochs: dict[Epoch | None, int] = {}
        self._rewinds: list[tuple[Epoch, int]] = []
        self._blobs: set[bytes] = set()

    def add(self, batch: Sequence[object]) -> None:
        records = list(batch)
        sha256 = hashlib.sha256
        self.leaves += [sha256(b"\0" + record).digest() for record in encode_records(records)]  # type: ignore[arg-type]
        found = contents(self._entry.partition, records)  # type: ignore[arg-type]
        self.fingerprints |= found.fingerprints
        self._blobs |= set(found.blobs)
        time = found.members["time"]
        self._times.append((time["first"], time["last"], time["min"], time["max"]))
        for text, offset in found.members["epochs"]:
            self._epochs.setdefault(epoch(text), offset)
        self._rewinds += [(bytes.fromhex(text), offset) for text, offset in found.members["rewinds"]]

    def judge(self, plain: bytes, pieces: Sequence[Piece]) -> list[Finding]:
        entry, root = self._entry, merkle.root(self.leaves)
        claims = {
            "the tree over its records": (root, entry.root),
            "its last record": (self.leaves[-1], entry.last),
            "its size": (len(plain), entry.plain_bytes),
            "its times": (self._span(), (entry.first_time, entry.last_time, entry.min_time, entry.max_time)),
            "its epochs": (self._epochs, dict(entry.epochs)),
            "its rewinds": (tuple(self._rewinds), entry.rewinds),
            "its blobs": (tuple(sorted(self._blobs)), entry.blobs),
            "its sync marker": (plain.endswith(sync_marker(root)), True),
        }
        found = [
            Finding(What.CONTRADICTORY, entry.key, f"{what}: not what its entry says")
            for what, (is_so, said) in claims.items()
            if is_so != said
        ]
        return found + [
            Finding(
                What.EDITED,
                f"{entry.partition}, offsets {p.first} to {p.stop - 1}",
                f"{entry.key} holds other records than were archived first",
            )
            for p in pieces
            if merkle.root(self.leaves[p.first - entry.first : p.stop - entry.first]) != p.root
        ]

    def _span(self) -> tuple[int, int, int, int]:
        firsts, lasts, lows, highs = zip(*self._times, strict=True)
        return firsts[0], lasts[-1], min(lows), max(highs)


def look_at_part(part: Part, plain: bytes, columns: tuple[tuple[str, str], ...]) -> Looked:
    """The rows of a snapshot's part, decoded and counted."""
    rows = 0
    try:
        for batch in decode_part(part, plain, columns):
            rows += len(batch)
    except LostData as error:
        return Looked((Finding(What.CONTRADICTORY, part.key, error.message),), rows)
    return Looked((), rows)
