"""What the entries of every checkpoint come to, and whether they agree with each other. Pure but for one look.

Memory holds what counts and what stands in the store; what was replaced and removed is let go of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from events.errors import Corrupt
from events.position import Partition
from replicator.auditing.findings import Finding, Findings, What
from replicator.auditing.objects import judge_key
from replicator.entries import CheckpointsEntry, End, Entry, SchemaEntry, SegmentEntry, SummaryEntry
from replicator.manifest import Manifest
from replicator.summary import add_entries, parse_summary, summary_number


class Piece(NamedTuple):
    """A range whose tree an earlier checkpoint signed: a merged segment must still hold it."""

    first: int
    stop: int
    root: bytes


class _Awaited(NamedTuple):
    """What a summary of one checkpoint must say, but for the joined checkpoints that come with it."""

    entries: dict[str, Entry]
    note: bytes
    manifest: bytes


def digest_pair(note: bytes, manifest: bytes) -> tuple[bytes, bytes]:
    return hashlib.sha256(note).digest(), hashlib.sha256(manifest).digest()


class Fold:
    """The entries that count, checkpoint by checkpoint."""

    def __init__(
        self,
        standing: Iterable[str],
        read: Callable[[str], bytes | None],
        findings: Findings,
        *,
        keep_pieces: bool = False,
    ) -> None:
        """`standing`: keys that the store lists. `read`: an object's bytes, None where it is not there."""
        self._standing = frozenset(standing)
        self._read = read
        self._findings = findings
        self._keep_pieces = keep_pieces
        self.current: dict[str, Entry] = {}
        self.replaced: dict[str, Entry] = {}
        """Entries that count no more, and whose objects stand."""
        self.replaced_number = 0
        self.pieces: dict[str, tuple[Piece, ...]] = {}
        """Of merged segments that count, where they were asked for."""
        self.broken = False
        """Whether a checkpoint could not be read: what entries replace may then be unknown."""
        self.ends: dict[int, End] = {}
        """Of the checkpoints that stand first or last in a joined object."""
        self._summarised = {n for key in self._standing if (n := summary_number(key)) is not None}
        self._awaited: dict[int, _Awaited] = {}
        self._tails: dict[Partition, bytes] = {}
        self._schemas: set[bytes] = set()

    def add(self, manifest: Manifest, data: bytes, note: bytes) -> None:
        """The next checkpoint."""
        where = f"checkpoint {manifest.n}"
        joined: list[Entry] = []
        for entry in manifest.entries:
            self._findings.extend(filter(None, [judge_key(entry)]))
            if isinstance(entry, SegmentEntry):
                self._segment(entry)
            elif isinstance(entry, SchemaEntry):
                self._schemas.add(entry.fingerprint)
            elif isinstance(entry, CheckpointsEntry):
                self._joined(entry)
                joined.append(entry)
            elif isinstance(entry, SummaryEntry) and entry.key in self._standing:
                self._summary(entry, joined)
            self._count(entry)
        self._totals(manifest, where)
        if manifest.n in self._summarised:
            self._awaited[manifest.n] = _Awaited(dict(self.current), *digest_pair(note, data))

    def _count(self, entry: Entry) -> None:
        before = {key: self.current[key] for key in entry.replaces if key in self.current}
        if len(before) < len(entry.replaces) and not self.broken:
            self._stands_aside(entry)
            return
        if self.broken:
            for key in before:
                del self.current[key]
            self.current[entry.key] = entry
        else:
            add_entries(self.current, [entry])
        self.replaced.pop(entry.key, None)
        for old in before.values():
            self._stands_aside(old)
            self.pieces.pop(old.key, None)

    def _stands_aside(self, entry: Entry) -> None:
        self.replaced_number += 1
        if entry.key in self._standing and entry.key not in self.current:
            self.replaced[entry.key] = entry

    def _segment(self, entry: SegmentEntry) -> None:
        parts = [p for key in entry.replaces if isinstance(p := self.current.get(key), SegmentEntry)]
        if not entry.replaces:
            self._tails[entry.partition] = entry.last
        if not parts or len(parts) < len(entry.replaces):
            return
        stops = [entry.first, *(part.stop for part in parts)]
        joins = all(
            p.partition == entry.partition and p.first == s for p, s in zip(parts, stops, strict=False)
        )
        if not joins or stops[-1] != entry.stop or parts[-1].last != entry.last:
            self._findings.add(What.CONTRADICTORY, entry.key, "it is not what it replaces, joined")
        if self._keep_pieces:
            own = ((p.key, (Piece(p.first, p.stop, p.root),)) for p in parts)
            self.pieces[entry.key] = tuple(x for key, piece in own for x in self.pieces.get(key, piece))

    def _joined(self, entry: CheckpointsEntry) -> None:
        for said in (entry.first, entry.last):
            known = self.ends.get(said.n)
            if known is not None and known != said:
                self._findings.add(
                    What.CONTRADICTORY, entry.key, f"its entry is wrong about checkpoint {said.n}"
                )

    def _totals(self, manifest: Manifest, where: str) -> None:
        if self.broken:
            return
        if set(manifest.schemas) != self._schemas:
            self._findings.add(What.CONTRADICTORY, where, "it lists other schemas than were archived")
        if dict(manifest.tails) != self._tails:
            self._findings.add(What.CONTRADICTORY, where, "its tails are not the last records archived")

    def _summary(self, entry: SummaryEntry, joined: Iterable[Entry]) -> None:
        awaited = self._awaited.pop(entry.n, None)
        data = self._read(entry.key)
        if awaited is None or data is None or hashlib.sha256(data).digest() != entry.stored:
            return  # its stored bytes are judged with all others
        found = judge_summary(entry, data, awaited.entries, joined, (awaited.note, awaited.manifest))
        self._findings.extend(filter(None, [None if self.broken else found]))


def judge_summary(
    entry: SummaryEntry,
    data: bytes,
    counted: Mapping[str, Entry],
    joined: Iterable[Entry],
    checkpoint: tuple[bytes, bytes],
) -> Finding | None:
    """A summary against the fold of the entries up to its checkpoint; `checkpoint`: digests of note and manifest."""
    try:
        summary = parse_summary(data, entry.key)
    except Corrupt as error:
        return Finding(What.CONTRADICTORY, entry.key, error.message)
    wanted = dict(counted)
    add_entries(wanted, joined)
    if summary.n != entry.n or digest_pair(summary.note, summary.manifest) != checkpoint:
        return Finding(What.CONTRADICTORY, entry.key, f"it holds another checkpoint than {entry.n}")
    if {e.key: e.raw for e in summary.entries.values()} != {e.key: e.raw for e in wanted.values()}:
        return Finding(
            What.CONTRADICTORY, entry.key, f"it says something else than checkpoints 1 to {entry.n}"
        )
    return None
