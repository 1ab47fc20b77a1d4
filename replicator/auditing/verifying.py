"""Verifying an archive: everything that stands there is read again and compared with what was signed.

First the checkpoints, then every object that they name, then what nobody names. Afterwards who vouches for it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from events import catalogue
from events.errors import Corrupt, Refused, StoreUnavailable, UnknownSchema
from replicator.auditing.attesting import (
    Attestation,
    Cosigned,
    Outside,
    attest,
    by_nobody,
    reasons_left,
    verified_outside,
)
from replicator.auditing.examining import Opener, Seen, Task, examine_all
from replicator.auditing.findings import Findings, What, outcome
from replicator.auditing.history import Auditor, History
from replicator.auditing.objects import judge_bytes
from replicator.checkpoints import list_checkpoints
from replicator.config import ArchiveConfig, parse_config
from replicator.copying import PINS
from replicator.encryption import SUFFIX
from replicator.entries import Entry, SchemaEntry, SegmentEntry, SignerEntry, SnapshotEntry
from replicator.holes import current_segments, holes
from replicator.manifest import CONFIG_KEY, note_key
from replicator.note import TreeHead, Verifier, parse_head
from replicator.outcome import Outcome
from replicator.snapshot import TableFact
from replicator.stores import NoSuchObject, ObjectReader
from replicator.trust import Keyring, read_handovers

Progress = Callable[[int, int], object]
"""(objects looked at, bytes)"""


class Depth(StrEnum):
    """How deep an audit looks."""

    OBJECTS = "objects"
    RECORDS = "records"


@dataclass(frozen=True)
class Scope:
    """What an audit is to look at, and what it may trust."""

    depth: Depth = Depth.OBJECTS
    verifiers: Sequence[Verifier] = ()
    """The keys on the sheet; none: the archive's own word, which proves nothing."""
    outside: Sequence[Outside] = ()
    cosigned: Cosigned = by_nobody
    workers: int = 1


@dataclass
class Counts:
    """How much was looked at."""

    objects: int = 0
    size_bytes: int = 0
    checkpoints: int = 0
    leaves: int = 0
    records: int = 0
    rows: int = 0
    orphans: int = 0
    """Objects that no checkpoint names: harmless."""
    removed: int = 0
    """Objects that were replaced and are gone, as pruning leaves it."""


@dataclass
class Audit:
    """What came of it."""

    depth: Depth
    findings: Findings = field(default_factory=Findings)
    reasons: list[str] = field(default_factory=list)
    """Why it is inconclusive, where nothing is wrong."""
    counts: Counts = field(default_factory=Counts)
    orphans: list[str] = field(default_factory=list)
    """The first of them."""
    origin: str = ""
    checkpoint: int = 0
    time: int | None = None
    """The newest checkpoint's: the archive is complete through it. Milliseconds UTC."""
    note: bytes = b""
    attested: Attestation = field(default_factory=Attestation)
    signers: list[str] = field(default_factory=list)
    """Statements that lead from key to key, where the archive's changed: a report is checked with them."""

    @property
    def outcome(self) -> Outcome:
        return outcome(self.findings, self.reasons)

    def to_json(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome.value,
            "depth": self.depth.value,
            "origin": self.origin,
            "checkpoint": self.checkpoint,
            "complete_through": self.time,
            "note": self.note.decode(errors="replace"),
            "attested_by": self.attested.by,
            "attested_checkpoint": self.attested.checkpoint,
            "reasons": self.reasons,
            **self.findings.to_json(),
            "counts": vars(self.counts),
            **({"signers": self.signers} if self.signers else {}),
            "orphans": self.orphans,
        }


MAX_ORPHANS = 100


def verify(opener: Opener, scope: Scope, progress: Progress = lambda objects, size: None) -> Audit:
    """Never raises for what is wrong with the archive: that is in the audit."""
    audit = Audit(scope.depth)
    try:
        store, identity = opener()
        _Verifying(opener, store, scope, audit, progress).run(identity is not None)
    except (StoreUnavailable, Refused) as error:
        audit.reasons.append(error.message)
    if not audit.counts.objects:
        audit.reasons.append("nothing was examined")
    return audit


class _Verifying:
    """One audit on its way."""

    def __init__(
        self, opener: Opener, store: ObjectReader, scope: Scope, audit: Audit, progress: Progress
    ) -> None:
        self._opener, self._store, self._scope, self._audit = opener, store, scope, audit
        self._progress = progress
        self._listing = {s.key: s.size_bytes for s in store.list("") if not s.key.startswith(PINS)}
        self._named: set[str] = {CONFIG_KEY}
        self._folders: set[str] = set()

    def run(self, has_identity: bool) -> None:
        audit, scope = self._audit, self._scope
        config, data = self._config()
        first = config.verifier if config else None
        keys = Keyring(scope.verifiers or filter(None, [first]), partial(read_handovers, self._store))
        outsiders = verified_outside(scope.outside, keys, audit.reasons)
        audit.origin = self._origin(config, keys)
        if first is not None:
            keys.claim(first)
        history = Auditor(
            self._store,
            data,
            audit.origin,
            keys,
            self._listing,
            audit.findings,
            first=first,
            sizes=(outsider.signed.size for outsider in outsiders),
            keep_pieces=scope.depth is Depth.RECORDS,
        ).walk()
        self._tell(history)
        self._judge_newest(history, keys)
        self._judge_range(history)
        self._examine(history, has_identity)
        self._orphans(history)
        audit.attested = attest(history, outsiders, scope.cosigned, audit.findings)
        audit.reasons += reasons_left(history, audit.attested, bool(scope.verifiers))
        if not history.head.n:
            audit.reasons.append("the archive holds no checkpoint")

    def _config(self) -> tuple[ArchiveConfig | None, bytes]:
        """archive.json, as far as it can be read. Raises Refused where it is of a newer format."""
        try:
            data = self._store.get(CONFIG_KEY)
        except NoSuchObject:
            if self._listing or self._scope.outside:
                self._audit.findings.add(What.MISSING, CONFIG_KEY)
            return None, b""
        try:
            return parse_config(data), data
        except Corrupt as error:
            self._audit.findings.add(What.EDITED, CONFIG_KEY, error.message)
            return None, data

    def _origin(self, config: ArchiveConfig | None, keys: Keyring) -> str:
        """What the notes say that they are of: archive.json may be another's, or damaged."""
        signed = next(self._signed_heads(keys), None)
        if signed is None:
            return config.origin if config else ""
        if config and config.origin != signed.origin:
            self._audit.findings.add(What.EDITED, CONFIG_KEY, "the notes are of another archive")
        return signed.origin

    def _signed_heads(self, keys: Keyring) -> Iterator[TreeHead]:
        for n, listed in list_checkpoints(self._store).items():
            if listed.has_note:
                try:
                    yield parse_head(keys.open(self._store.get(note_key(n)), "a note")[0])
                except (Corrupt, NoSuchObject):
                    continue

    def _tell(self, history: History) -> None:
        audit = self._audit
        audit.checkpoint, audit.time, audit.note = history.head.n, history.head.time, history.head.note
        counts = audit.counts
        counts.checkpoints, counts.leaves = history.checkpoints, history.head.tree.size
        counts.objects = len(history.keys) + (CONFIG_KEY in self._listing)
        counts.size_bytes = sum(self._listing.get(key, 0) for key in (*history.keys, CONFIG_KEY))

    def _judge_newest(self, history: History, keys: Keyring) -> None:
        """Whoever has a retired key shows an archive from before its end: the sheet does not vouch for that."""
        if any(isinstance(entry, SignerEntry) for entry in history.fold.current.values()):
            self._audit.signers = [handover.note.decode() for handover in keys.handovers()]
        doubt = keys.doubt(history.signed.by) if history.signed else ""
        if doubt:
            self._audit.findings.add(What.FORKED, note_key(history.head.n), f"it {doubt}")

    def _judge_range(self, history: History) -> None:
        """Law 5: of what counts, no offset is missing."""
        held = current_segments(e for e in history.fold.current.values() if isinstance(e, SegmentEntry))
        gaps = history.head.manifest.gaps if history.head.manifest else ()
        for hole in holes(held, history.head.position, gaps):
            where, _, what = hole.message.partition(": ")
            self._audit.findings.add(What.MISSING, where, what)

    # Objects

    def _examine(self, history: History, has_identity: bool) -> None:
        records = self._scope.depth is Depth.RECORDS
        fold = history.fold
        entries = [*fold.current.values(), *fold.replaced.values()]
        if records and not has_identity and any(e.key.endswith(SUFFIX) for e in entries):
            self._audit.reasons.append("records were not looked at: no identity opens them")
            records = False
        others = {entry.stored: entry.key for entry in entries}
        fingerprints: set[bytes] = set()
        snapshots: list[tuple[SnapshotEntry, tuple[TableFact, ...]]] = []
        tasks = [Task(e, e.key in fold.current, fold.pieces.get(e.key, ())) for e in entries]
        for task, seen in self._look(tasks, records, others):
            fingerprints |= seen.looked.fingerprints
            self._audit.counts.records += seen.looked.records
            if isinstance(task.named, SnapshotEntry) and seen.tables:
                snapshots.append((task.named, seen.tables))
            self._contradicted(history, task.named)
        for entry, tables in snapshots:
            self._examine_parts(entry, tables, entry.key in fold.current, records, others)
        self._judge_schemas(fold.current.values(), fingerprints)
        self._audit.counts.removed = fold.replaced_number - len(fold.replaced)

    def _look(
        self, tasks: Sequence[Task], records: bool, others: dict[bytes, str]
    ) -> Iterator[tuple[Task, Seen]]:
        counts = self._audit.counts
        for task, seen in examine_all(self._opener, tasks, records=records, workers=self._scope.workers):
            self._named.add(task.named.key)
            if seen.digest is None:
                if task.needed:
                    self._audit.findings.add(What.MISSING, task.named.key)
            else:
                counts.objects += 1
                counts.size_bytes += seen.size_bytes
                found = judge_bytes(task.named, seen.digest, seen.size_bytes, others)
                self._audit.findings.extend([found] if found else seen.looked.findings)
            self._progress(counts.objects, counts.size_bytes)
            yield task, seen

    def _examine_parts(
        self,
        entry: SnapshotEntry,
        tables: Sequence[TableFact],
        needed: bool,
        records: bool,
        others: dict[bytes, str],
    ) -> None:
        self._folders.add(entry.key.rsplit("/", 1)[0] + "/")
        tasks = [
            Task(part, needed, columns=table.columns)
            for table in tables
            for part in table.parts
            if needed or part.key in self._listing
        ]
        others = {**others, **{task.named.stored: task.named.key for task in tasks}}
        for _, seen in self._look(tasks, records, others):
            self._audit.counts.rows += seen.looked.records

    def _contradicted(self, history: History, named: object) -> None:
        why = history.contradicted.get(named.key) if isinstance(named, Entry) else None
        if why is not None and isinstance(named, Entry):
            self._audit.findings.add(What.CONTRADICTORY, named.key, why)

    def _judge_schemas(self, entries: Iterable[Entry], fingerprints: set[bytes]) -> None:
        """Values of ours whose schema the archive lacks could not be read from it alone."""
        held = {e.fingerprint for e in entries if isinstance(e, SchemaEntry)}
        for fingerprint in sorted(fingerprints - held):
            with suppress(UnknownSchema):  # a foreign value's
                catalogue.schema_json(fingerprint)
                self._audit.findings.add(
                    What.MISSING, f"the schema {fingerprint.hex()}", "records are written in it"
                )

    def _orphans(self, history: History) -> None:
        known = self._named | history.keys
        for key in self._listing:
            if key in known:
                continue
            self._audit.counts.orphans += 1
            if len(self._audit.orphans) < MAX_ORPHANS:
                self._audit.orphans.append(key)
