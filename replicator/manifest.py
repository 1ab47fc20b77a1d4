"""Checkpoints: the manifest of each, and the tree that grows from one to the next. Pure.

A manifest says what the archive holds from here on; the note signs the tree whose last leaf is that manifest. The tree
before a manifest's entries stands in it as a frontier, so that a writer resumes from the newest one alone, while a
reader, who starts from archive.json, computes every frontier anew and compares.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events.envelope import Epoch
from events.errors import ArchiveDiverged, ArchiveGap, BadConfiguration, BadInput, Corrupt, Refused
from events.position import Partition, Position
from replicator.canonical import canonical, parse_canonical
from replicator.entries import (
    Entry,
    RecipientsEntry,
    SignerEntry,
    digest,
    epoch_of,
    epoch_text,
    natural,
    parse_entry,
)
from replicator.merkle import Frontier, leaf_hash
from replicator.note import SignedHead, Verifier

FORMAT = 1
CONFIG_KEY = "archive.json"
CHECKPOINTS = "checkpoints/"
RETIRED_HINT = "was it retired? 'rekam audit verify' says what signed what"
_MANIFEST_KEY = re.compile(r"checkpoints/([0-9]{12})/([0-9a-f]{64})\.manifest\.json\Z")
_NOTE_KEY = re.compile(r"checkpoints/([0-9]{12})/note\Z")


@dataclass(frozen=True)
class Gap:
    """A hole that is known: these offsets are nowhere any more."""

    partition: Partition
    first: int
    stop: int
    reason: str


@dataclass(frozen=True)
class Generation:
    """How often the log was rebuilt, and the epoch of the rewind that said so."""

    number: int = 0
    epoch: Epoch | None = None


@dataclass(frozen=True)
class Manifest:
    """What one checkpoint says. See docs/archive-format.md."""

    n: int
    archive: str
    time: int
    """Milliseconds UTC; rises strictly from checkpoint to checkpoint."""
    complete_through: int
    position: Position
    generation: Generation
    topics: Mapping[str, str]
    tails: Mapping[Partition, bytes]
    """The leaf hash of the last archived record of each partition."""
    schemas: tuple[bytes, ...]
    """Fingerprints of all schemas in the archive."""
    gaps: tuple[Gap, ...]
    entries: tuple[Entry, ...]
    before: Frontier
    """The tree before this checkpoint's entries."""
    previous: bytes | None
    """The digest of the note before."""
    code: str
    recipients: tuple[str, ...] | None = None
    """To whom objects are encrypted behind this checkpoint; None: to those of archive.json."""
    signer: Verifier | None = None
    """What signs the checkpoints behind this one; None: archive.json's key."""

    def signed_with(self, first: Verifier | None) -> Verifier | None:
        """The key that must sign this checkpoint; `first`: archive.json's, None where that is not known."""
        named = next((e for e in self.entries if isinstance(e, SignerEntry)), None)
        return named.previous if named else self.signer or first

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical(
            {
                "format": FORMAT,
                "n": self.n,
                "archive": self.archive,
                "time": self.time,
                "complete_through": self.complete_through,
                "position": self.position.to_json(),
                "generation": {"number": self.generation.number, "epoch": epoch_text(self.generation.epoch)},
                "topics": dict(self.topics),
                "tails": {str(p): tail.hex() for p, tail in self.tails.items()},
                "schemas": sorted(fingerprint.hex() for fingerprint in self.schemas),
                "gaps": [
                    {"partition": str(g.partition), "first": g.first, "stop": g.stop, "reason": g.reason}
                    for g in self.gaps
                ],
                "entries": [entry.raw for entry in self.entries],
                "tree": {"size": self.before.size, "frontier": [h.hex() for h in self.before.hashes]},
                "previous": None if self.previous is None else self.previous.hex(),
                "code": self.code,
                **({} if self.recipients is None else {"recipients": list(self.recipients)}),
                **({} if self.signer is None else {"signer": str(self.signer)}),
            }
        )


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Raises Corrupt naming `where`."""
    raw = parse_canonical(data, where)
    try:
        if raw["format"] != FORMAT:
            raise ValueError("another format")
        return _manifest(raw, where)
    except (KeyError, TypeError, ValueError, AttributeError, BadInput, BadConfiguration) as error:
        raise Corrupt(f"{where} is not a manifest of format {FORMAT} ({type(error).__name__})") from None


def _manifest(raw: dict[str, Any], where: str) -> Manifest:
    return Manifest(
        n=natural(raw["n"]),
        archive=raw["archive"],
        time=natural(raw["time"]),
        complete_through=natural(raw["complete_through"]),
        position=Position.from_json(raw["position"]),
        generation=Generation(natural(raw["generation"]["number"]), epoch_of(raw["generation"]["epoch"])),
        topics=dict(raw["topics"]),
        tails={Partition.parse(p): digest(tail) for p, tail in raw["tails"].items()},
        schemas=tuple(bytes.fromhex(text) for text in raw["schemas"]),
        gaps=tuple(
            Gap(Partition.parse(g["partition"]), natural(g["first"]), natural(g["stop"]), g["reason"])
            for g in raw["gaps"]
        ),
        entries=tuple(parse_entry(entry, where) for entry in raw["entries"]),
        before=Frontier(natural(raw["tree"]["size"]), [digest(h) for h in raw["tree"]["frontier"]]),
        previous=None if raw["previous"] is None else digest(raw["previous"]),
        code=raw["code"],
        recipients=tuple(str(one) for one in raw["recipients"]) if "recipients" in raw else None,
        signer=Verifier.parse(raw["signer"]) if "signer" in raw else None,
    )


def manifest_key(n: int, data: bytes) -> str:
    return f"{CHECKPOINTS}{n:012d}/{hashlib.sha256(data).hexdigest()}.manifest.json"


def note_key(n: int) -> str:
    return f"{CHECKPOINTS}{n:012d}/note"


def checkpoint_number(key: str) -> tuple[int, bool] | None:
    """(n, whether it is the note) of an object under `checkpoints/`; None for another key."""
    found = _NOTE_KEY.match(key) or _MANIFEST_KEY.match(key)
    return (int(found[1]), key.endswith("/note")) if found else None


def config_leaf(config: bytes) -> bytes:
    """Leaf 0, hashed: archive.json."""
    return leaf_hash(
        canonical({"kind": "archive", "key": CONFIG_KEY, "stored": hashlib.sha256(config).hexdigest()})
    )


def manifest_leaf(n: int, data: bytes) -> bytes:
    """A checkpoint's last leaf, hashed."""
    stored = hashlib.sha256(data).hexdigest()
    return leaf_hash(canonical({"kind": "manifest", "key": manifest_key(n, data), "stored": stored}))


@dataclass(frozen=True)
class Head:
    """Where an archive stands: after checkpoint `n` (0: none yet)."""

    n: int
    manifest: Manifest | None
    note: bytes
    """The newest note as stored; empty where there is none."""
    tree: Frontier
    first: Verifier | None = None
    """archive.json's key; None where it is not known."""

    @property
    def signer(self) -> Verifier | None:
        """The key that must sign the next checkpoint; None where it is not known."""
        return (self.manifest.signer if self.manifest else None) or self.first

    @property
    def position(self) -> Position:
        return self.manifest.position if self.manifest else Position()

    @property
    def time(self) -> int | None:
        return self.manifest.time if self.manifest else None

    @property
    def previous(self) -> bytes | None:
        """What the next manifest must name as its previous note's digest."""
        return hashlib.sha256(self.note).digest() if self.note else None


def first_head(config: bytes, first: Verifier | None = None) -> Head:
    """The head of an archive without checkpoints. `first`: archive.json's key."""
    tree = Frontier()
    tree.append(config_leaf(config))
    return Head(0, None, b"", tree, first)


def grown(tree: Frontier, manifest: Manifest, data: bytes) -> Frontier:
    """The tree after a checkpoint: its entries, then its manifest."""
    after = tree.copy()
    for entry in manifest.entries:
        after.append(leaf_hash(entry.leaf()))
    after.append(manifest_leaf(manifest.n, data))
    return after


def advance(head: Head, data: bytes, note: bytes, signed: SignedHead) -> Head:
    """The head after the next checkpoint, given its manifest and note (its signature verified already).

    Raises Corrupt, ArchiveGap or ArchiveDiverged where the checkpoint does not follow from the head.
    """
    where = f"checkpoint {head.n + 1}"
    manifest = parse_manifest(data, f"the manifest of {where}")
    tree = grown(head.tree, manifest, data)
    if (signed.size, signed.root) != (tree.size, tree.root()):
        raise Corrupt(f"{where}: its signed tree is not the one that the archive's objects give")
    _check_follows(head, manifest, where)
    if why := wrong_keys(head, manifest, signed.by):
        raise Corrupt(f"{where}: {why}", "look with 'rekam audit verify'")
    return Head(manifest.n, manifest, note, tree, head.first)


def resume(data: bytes, note: bytes, signed: SignedHead, n: int, first: Verifier | None = None) -> Head:
    """The head at checkpoint n from that checkpoint alone, as a writer goes on. Raises Corrupt.

    `first`: archive.json's key; without it, nobody looks whether the key that signed was in force.
    """
    manifest = parse_manifest(data, f"the manifest of checkpoint {n}")
    if manifest.n != n:
        raise Corrupt(f"the manifest of checkpoint {n} is that of {manifest.n}")
    tree = grown(manifest.before, manifest, data)
    if (signed.size, signed.root) != (tree.size, tree.root()):
        raise Corrupt(f"checkpoint {n}: its signed tree is not the one that its manifest gives")
    wanted = manifest.signed_with(first)
    if first is not None and wanted not in signed.by:
        raise Corrupt(f"checkpoint {n} is not signed with the key that was in force", RETIRED_HINT)
    return Head(n, manifest, note, tree, first)


def wrong_keys(before: Head, manifest: Manifest, by: Collection[Verifier]) -> str:
    """Why a checkpoint's keys do not follow from the one before it; empty where they do. `by`: those that signed it."""
    recipients, signer = _after(before, manifest.entries)
    if manifest.recipients != recipients:
        return "it names other recipients than the archive's entries do"
    if before.signer is None:
        return ""
    if before.signer not in by:
        return "it is signed with a key that was not in force"
    named = [e for e in manifest.entries if isinstance(e, SignerEntry)]
    if len(named) > 1 or any(e.previous != before.signer for e in named) or manifest.signer != signer:
        return "it hands over to a key that the key in force does not name"
    return ""


def _after(before: Head, entries: Sequence[Entry]) -> tuple[tuple[str, ...] | None, Verifier | None]:
    """(recipients, signer) behind a checkpoint with these entries, as its manifest says them."""
    held = before.manifest
    recipients = [e.recipients for e in entries if isinstance(e, RecipientsEntry)]
    signers = [e.verifier for e in entries if isinstance(e, SignerEntry)]
    return (
        recipients[-1] if recipients else held.recipients if held else None,
        signers[-1] if signers else held.signer if held else None,
    )


def _check_follows(head: Head, manifest: Manifest, where: str) -> None:
    if manifest.n != head.n + 1:
        raise Corrupt(f"{where} holds the manifest of checkpoint {manifest.n}")
    if manifest.before != head.tree or manifest.previous != head.previous:
        raise ArchiveDiverged(f"{where} does not follow from the checkpoint before it")
    if head.manifest is None:
        return
    if manifest.archive != head.manifest.archive:
        raise ArchiveDiverged(f"{where} is of another archive")
    if manifest.time <= head.manifest.time:
        raise Corrupt(f"{where}: its time does not rise")
    if not manifest.position.covers(head.manifest.position):
        raise ArchiveGap(f"{where} covers less than the checkpoint before it")


def following(
    head: Head, archive: str, heartbeat: int, *, entries: Sequence[Entry], **facts: Any
) -> Manifest:
    """The manifest after `head`, with the tree before it; times rise strictly. `heartbeat`: its log time.

    Raises Refused where an entry hands over from a key that is not in force any more: somebody else did.
    """
    if any(isinstance(e, SignerEntry) and e.previous != head.signer for e in entries):
        raise Refused(
            "the signing key was rotated by somebody else meanwhile", "look with 'rekam keys check'"
        )
    recipients, signer = _after(head, entries)
    time = heartbeat if head.time is None else max(heartbeat, head.time + 1)
    return Manifest(
        n=head.n + 1,
        archive=archive,
        time=time,
        complete_through=time,
        before=head.tree,
        previous=head.previous,
        entries=tuple(entries),
        recipients=recipients,
        signer=signer,
        **facts,
    )
