"""Every checkpoint from the first to the newest: notes, manifests, the tree, and what follows from what.

A checkpoint is read from its own two objects and from every joined object that holds it, and all must say the same.
Where none will do, the audit names what is wrong and goes on: from the manifest where that alone follows from what came
before, else from the next checkpoint that is whole by itself, whose manifest holds the tree before it.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from events.errors import Corrupt
from replicator.auditing.findings import Findings, What
from replicator.auditing.folding import Fold
from replicator.checkpoints import READ_THREADS, signed_head
from replicator.copying import key_digest
from replicator.entries import End, SignerEntry
from replicator.joined import Checkpoint, joined_range, split_checkpoints
from replicator.manifest import (
    Head,
    Manifest,
    checkpoint_number,
    first_head,
    grown,
    manifest_key,
    note_key,
    parse_manifest,
    resume,
    wrong_keys,
)
from replicator.note import SignedHead, Verifier
from replicator.stores import NoSuchObject, ObjectReader
from replicator.trust import Keyring

READ_AT_ONCE = 256
"""Checkpoints whose own objects are asked for together."""


@dataclass
class Own:
    """A checkpoint's own objects, as listed and then as read."""

    n: int
    note: bytes | None = None
    listed_note: bool = False
    manifests: dict[str, bytes] = field(default_factory=dict)


class Candidate(NamedTuple):
    """A note with a manifest that its tree ends in."""

    note: bytes
    data: bytes
    signed: SignedHead
    head: Head


class Root(NamedTuple):
    """What the archive's checkpoint over so many leaves signed."""

    n: int
    root: bytes


@dataclass
class History:
    """What the checkpoints came to."""

    head: Head
    """The newest that was read."""
    fold: Fold
    signed: SignedHead | None = None
    """What the newest note says, its signature verified."""
    roots: dict[int, Root] = field(default_factory=dict)
    """Of the sizes that were asked for."""
    checkpoints: int = 0
    newest: int = 0
    """The highest number of a note."""
    keys: set[str] = field(default_factory=set)
    """Of notes and manifests that are of checkpoints, in objects of their own."""
    contradicted: dict[str, str] = field(default_factory=dict)
    """Joined objects that say something else than their checkpoints, and what."""


class Auditor:
    """Walks through the checkpoints of one archive."""

    def __init__(
        self,
        store: ObjectReader,
        config: bytes,
        origin: str,
        keys: Keyring,
        listing: Mapping[str, int],
        findings: Findings,
        *,
        first: Verifier | None = None,
        sizes: Iterable[int] = (),
        keep_pieces: bool = False,
    ) -> None:
        """`listing`: key -> size. `first`: archive.json's key. `sizes`: of the trees whose roots are asked for."""
        self._store, self._origin, self._keys = store, origin, keys
        self._listing, self._findings, self._sizes = listing, findings, frozenset(sizes)
        fold = Fold(listing, self._get, findings, keep_pieces=keep_pieces)
        self.history = History(first_head(config, first), fold)
        self._known_note = self._known_tree = True
        self._leaves = array("Q", [1])
        """leaves after checkpoint n, at place n."""
        self._strays: list[tuple[str, SignedHead]] = []
        self._joined = sorted(
            (r[0], r[1], key) for key in listing if (r := joined_range(key)) is not None and r[0] <= r[1]
        )
        self._boundaries = {n for first, last, _ in self._joined for n in (first, last)}
        self._missing: list[int] = []
        self._retired: dict[Verifier, int] = {}
        """Keys that were in force, and the last checkpoint that they signed."""

    def walk(self) -> History:
        own = self._list_own()
        notes = [n for n, listed in own.items() if listed.listed_note]
        self.history.newest = max([0, *notes, *(last for _, last, _ in self._joined)])
        active: dict[str, dict[int, Checkpoint]] = {}
        waiting = list(reversed(self._joined))
        for one in self._read(own, self.history.newest):
            while waiting and waiting[-1][0] <= one.n:
                first, last, key = waiting.pop()
                active[key] = self._split(key, first, last)
            self._step(one, active)
            for key in [key for key in active if (joined_range(key) or (0, 0))[1] <= one.n]:
                del active[key]
        self._tell_missing()
        self._tell_strays()
        return self.history

    def _list_own(self) -> dict[int, Own]:
        found: dict[int, Own] = {}
        for key in self._listing:
            place = checkpoint_number(key)
            if place is not None:
                own = found.setdefault(place[0], Own(place[0]))
                if place[1]:
                    own.listed_note = True
                else:
                    own.manifests[key] = b""
        return found

    def _read(self, listed: dict[int, Own], newest: int) -> Iterator[Own]:
        with ThreadPoolExecutor(READ_THREADS) as pool:
            for first in range(1, newest + 1, READ_AT_ONCE):
                numbers = range(first, min(first + READ_AT_ONCE, newest + 1))
                yield from pool.map(self._read_own, [listed.pop(n, None) or Own(n) for n in numbers])

    def _read_own(self, own: Own) -> Own:
        read = {key: self._get(key) for key in own.manifests}
        note = self._get(note_key(own.n)) if own.listed_note else None
        return Own(own.n, note, note is not None, {k: data for k, data in read.items() if data is not None})

    def _get(self, key: str) -> bytes | None:
        try:
            return self._store.get(key)
        except NoSuchObject:
            return None

    def _split(self, key: str, first: int, last: int) -> dict[int, Checkpoint]:
        data = self._get(key) or b""
        if hashlib.sha256(data).hexdigest() != key_digest(key):
            return {}  # its stored bytes are judged with all others
        try:
            found = split_checkpoints(data, key)
        except Corrupt as error:
            self.history.contradicted[key] = error.message
            return {}
        if (found[0].n, found[-1].n) != (first, last):
            self.history.contradicted[key] = "it holds other checkpoints than its key says"
        return {checkpoint.n: checkpoint for checkpoint in found}

    # One checkpoint

    def _step(self, own: Own, active: Mapping[str, Mapping[int, Checkpoint]]) -> None:
        held = {key: found[own.n] for key, found in active.items() if own.n in found}
        sources = [(own.note, list(own.manifests.values()))] if own.note is not None else []
        sources += [(c.note, [c.manifest]) for c in held.values()]
        found = [c for note, manifests in sources for c in self._candidates(own.n, note, manifests)]
        following = [c for c in found if not self._break(c.head, c.signed.by)]
        chosen = next(iter(following or found), None)
        if chosen is None:
            self._broken(own)
            return
        self._tell_missing()
        self._accept(chosen)
        self._compare(own, held, chosen)

    def _candidates(self, n: int, note: bytes, manifests: Iterable[bytes]) -> Iterator[Candidate]:
        try:
            signed = signed_head(note, n, self._origin, self._keys)
        except Corrupt:
            return
        for data in manifests:
            try:
                head = replace(resume(data, note, signed, n), first=self.history.head.first)
            except Corrupt:
                continue
            yield Candidate(note, data, signed, head)

    def _break(self, head: Head, by: Collection[Verifier]) -> str:
        """Why a checkpoint does not go on from the one before; empty where it does. `by`: what signed it."""
        before, manifest = self.history.head, head.manifest
        assert manifest is not None
        if not self._known_tree:
            return "" if head.tree.size > before.tree.size else "its tree is smaller than an earlier one"
        if manifest.before != before.tree:
            return "its tree does not go on from the one before it"
        if self._known_note and manifest.previous != before.previous:
            return "it names another note before it"
        return self._wrong_keys(manifest, by)

    def _wrong_keys(self, manifest: Manifest, by: Collection[Verifier]) -> str:
        retired = [n for verifier, n in self._retired.items() if verifier in by]
        if retired and self.history.head.signer not in by:
            return f"it is signed with a key that was retired at checkpoint {max(retired)}"
        if any(isinstance(e, SignerEntry) and e.verifier in self._retired for e in manifest.entries):
            return "it hands over to a key that was retired"
        return wrong_keys(self.history.head, manifest, by)

    def _accept(self, chosen: Candidate) -> None:
        manifest = chosen.head.manifest
        assert manifest is not None
        why = self._break(chosen.head, chosen.signed.by)
        if why and manifest.n == 1 and manifest.before.size == 1:
            self._findings.add(
                What.EDITED, "archive.json", "it is not the one that the first checkpoint covers"
            )
        elif why:
            self._findings.add(What.FORKED, f"checkpoint {manifest.n}", why)
        self._check_rises(manifest)
        if not why:
            self._follow_keys(manifest)
        self._go_on(chosen.head, chosen.data)
        self.history.signed = chosen.signed
        self._known_note = True

    def _follow_keys(self, manifest: Manifest) -> None:
        """A checkpoint that is signed as it must be says which key is in force behind it, if its statement is lost."""
        for entry in manifest.entries:
            if isinstance(entry, SignerEntry):
                self._retired[entry.previous] = manifest.n
                self._keys.follow(entry.previous, entry.verifier)

    def _check_rises(self, manifest: Manifest) -> None:
        where = manifest_key(manifest.n, manifest.to_bytes())
        before = self.history.head.manifest
        if before is None:
            return
        if manifest.archive != before.archive:
            self._findings.add(What.CONTRADICTORY, where, "it is of another archive")
        if manifest.time <= before.time:
            self._findings.add(What.CONTRADICTORY, where, "its time does not rise")
        if not manifest.position.covers(before.position):
            self._findings.add(What.CONTRADICTORY, where, "it covers less than the checkpoint before it")

    def _go_on(self, head: Head, data: bytes) -> None:
        manifest, history = head.manifest, self.history
        assert manifest is not None
        while len(self._leaves) < head.n:
            self._leaves.append(self._leaves[-1])
        self._leaves.append(head.tree.size)
        if head.n in self._boundaries:
            history.fold.ends[head.n] = End(head.n, manifest.time, manifest.position, head.tree.size)
        if head.tree.size in self._sizes:
            history.roots[head.tree.size] = Root(head.n, head.tree.root())
        history.fold.add(manifest, data, head.note)
        history.head = head
        history.checkpoints += 1
        self._known_tree = True

    def _compare(self, own: Own, held: Mapping[str, Checkpoint], chosen: Candidate) -> None:
        """Everything else that says what this checkpoint is, with what it is."""
        key = manifest_key(own.n, chosen.data)
        if own.note is not None:
            self.history.keys.add(note_key(own.n))
            if own.note != chosen.note:
                self._judge_note(own.n, own.note, chosen.signed)
        if key in own.manifests:
            self.history.keys.add(key)
            if own.manifests[key] != chosen.data:
                self._edited(key, own.manifests[key])
        for joined, checkpoint in held.items():
            if (checkpoint.note, checkpoint.manifest) != (chosen.note, chosen.data):
                same = self._same_note(own.n, checkpoint.note, chosen.signed)
                if not same or checkpoint.manifest != chosen.data:
                    self.history.contradicted.setdefault(joined, f"it holds another checkpoint {own.n}")

    def _same_note(self, n: int, note: bytes, signed: SignedHead) -> bool:
        try:
            return signed_head(note, n, self._origin, self._keys) == signed
        except Corrupt:
            return False

    def _judge_note(self, n: int, note: bytes, wanted: SignedHead | None) -> None:
        try:
            signed = signed_head(note, n, self._origin, self._keys)
        except Corrupt as error:
            self._findings.add(What.EDITED, note_key(n), error.message)
            return
        if signed != wanted:
            self._strays.append((note_key(n), signed))

    def _broken(self, own: Own) -> None:
        """No note with its manifest will do: what is wrong, and where to go on."""
        n, history = own.n, self.history
        provisional = next((m for m in own.manifests.items() if self._goes_on(n, *m)), None)
        if own.note is None:
            self._missing.append(n)
        else:
            history.keys.add(note_key(n))
            signed = self._signed(n, own.note)
            if signed is None or provisional is not None:
                self._judge_note(n, own.note, None)
            else:
                self._judge_manifests(own)
        history.fold.broken = history.fold.broken or provisional is None
        self._known_note = False
        if provisional is None:
            self._known_tree = False
            return
        key, data = provisional
        history.keys.add(key)
        manifest = parse_manifest(data, key)
        tree = grown(manifest.before, manifest, data)
        self._go_on(Head(n, manifest, own.note or b"", tree, history.head.first), data)

    def _signed(self, n: int, note: bytes) -> SignedHead | None:
        try:
            return signed_head(note, n, self._origin, self._keys)
        except Corrupt:
            return None

    def _goes_on(self, n: int, key: str, data: bytes) -> bool:
        """Whether a manifest without its note is that of the next checkpoint, by all that came before."""
        if hashlib.sha256(data).hexdigest() != key_digest(key) or not self._known_tree:
            return False
        try:
            manifest = parse_manifest(data, key)
        except Corrupt:
            return False
        before = self.history.head
        right_note = not self._known_note or manifest.previous == before.previous
        return manifest.n == n and manifest.before == before.tree and right_note

    def _judge_manifests(self, own: Own) -> None:
        changed = [(k, d) for k, d in own.manifests.items() if hashlib.sha256(d).hexdigest() != key_digest(k)]
        self.history.keys.update(own.manifests)
        for key, data in changed:
            self._edited(key, data)
        if not own.manifests:
            self._findings.add(What.MISSING, f"the manifest of checkpoint {own.n}", "its note stands")
        elif not changed:
            self._findings.add(
                What.FORKED, note_key(own.n), "no manifest that stands is the one that it signs"
            )

    def _edited(self, key: str, data: bytes) -> None:
        self._findings.add(What.EDITED, key, f"its {len(data)} bytes are not those that its key names")

    # What can be told only afterwards

    def _tell_missing(self) -> None:
        """The notes that are missing with others behind them: removed, or another history's numbers."""
        if self._missing:
            first, last = self._missing[0], self._missing[-1]
            where = note_key(first) if first == last else f"checkpoints {first} to {last}"
            self._findings.add(
                What.MISSING, where, "later checkpoints stand: it was removed, or this is a fork"
            )
            self._missing = []

    def _tell_strays(self) -> None:
        for key, signed in self._strays:
            n = bisect_left(self._leaves, signed.size)
            if 0 < n < len(self._leaves) and self._leaves[n] == signed.size:
                self._findings.add(What.REORDERED, key, f"it is a note over the tree of checkpoint {n}")
            else:
                self._findings.add(
                    What.FORKED, key, f"it signs a tree of {signed.size} leaves that this archive never had"
                )
