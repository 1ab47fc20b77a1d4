"""The writer's side of an archive: creating it, adding objects, and committing checkpoints.

Everything that a checkpoint names exists before its note is created. Creating note n is the commit and the fence: of
two writers the second has lost, changed nothing that counts, and must look again. A writer needs no more than creating,
listing, and reading checkpoints; it cannot open what it stored.

Which key signs the next checkpoint, and to whom objects are encrypted, the newest checkpoint says. A writer follows
what it says while it runs; one that has not the key in force stops.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from events.errors import ArchiveDiverged, BadConfiguration, Busy, Refused
from replicator.archive_index import ArchiveIndex, open_archive
from replicator.checkpoints import first_fitting, list_checkpoints, read_checkpoint
from replicator.config import ArchiveConfig, new_config, read_config
from replicator.encryption import Recipients
from replicator.entries import Entry, entry_json, parse_entry
from replicator.manifest import CONFIG_KEY, Head, Manifest, first_head, grown, manifest_key, note_key, resume
from replicator.note import Signer, TreeHead, Verifier, head_text, parse_head, sign_note
from replicator.stores import AlreadyThere, ArchiveStore
from replicator.summary import newest_summaries, summary_number
from replicator.trust import Keyring, read_handovers

__all__ = ["Archive", "ArchiveIndex", "open_archive"]

_Entry = TypeVar("_Entry", bound=Entry)
KeyOf: TypeAlias = Callable[[str, str], str]
"""(digest of the stored bytes in hex, what encrypted objects' keys end in) -> key."""


class Named(NamedTuple):
    """A stored object: its key, its digests, and its stored bytes."""

    key: str
    stored: bytes
    plain: bytes
    size_bytes: int


class SigningKeyRetired(Refused):
    """Another key signs the archive's checkpoints now."""


class Archive:
    """An archive that can be written. Safe to use from many threads but for `head` and `commit`."""

    def __init__(
        self,
        store: ArchiveStore,
        signer: Signer,
        config: ArchiveConfig,
        config_bytes: bytes,
        others: Callable[[], Iterable[Signer]] = tuple,
    ) -> None:
        """`others`: further signing keys in hand, asked for where `signer` is not the one in force."""
        self.store = store
        self.config = config
        self._config_bytes = config_bytes
        self._signer = signer
        self._others = others
        self._keys = Keyring([signer.verifier], partial(read_handovers, store))
        self._recipients: Recipients | None = None

    @classmethod
    def create(
        cls,
        store: ArchiveStore,
        signer: Signer,
        *,
        clinic_id: str,
        clinic_name: str,
        archive_id: str,
        recipients: Sequence[str],
    ) -> Archive:
        """A new archive in an empty place. Twice the same is once; raises Busy where another archive is there."""
        config = new_config(clinic_id, clinic_name, archive_id, recipients, signer.verifier)
        data = config.to_bytes()
        try:
            store.create(CONFIG_KEY, data)
        except AlreadyThere:
            if store.get(CONFIG_KEY) != data:
                raise Busy("another archive is in this place", "name an empty place, or adopt it") from None
        return cls(store, signer, config, data)

    @classmethod
    def open(
        cls, store: ArchiveStore, signer: Signer, others: Callable[[], Iterable[Signer]] = tuple
    ) -> Archive:
        """An archive that stands. Raises Refused where none is, BadConfiguration where the key is not its clinic's."""
        config, data = read_config(store)
        if config.verifier.name != signer.verifier.name:
            raise BadConfiguration(
                "the signing key is that of another clinic", "check the keys folder and the archive's place"
            )
        return cls(store, signer, config, data, others)

    @property
    def verifier(self) -> Verifier:
        return self._signer.verifier

    @property
    def recipients(self) -> tuple[str, ...]:
        """To whom objects are encrypted, by the newest checkpoint that was read; reads it the first time."""
        return self._in_force.texts

    @property
    def _in_force(self) -> Recipients:
        if self._recipients is None:
            self.head()
        assert self._recipients is not None
        return self._recipients

    def head(self, known: Head | None = None, seen: bytes = b"") -> Head:
        """Where the archive stands, read from its newest checkpoint alone.

        `known`: a head from before, so that only newer checkpoints are listed. `seen`: the newest note that was seen
        elsewhere. Raises Corrupt, ArchiveGap, ArchiveDiverged (rolled back), StoreUnavailable, and SigningKeyRetired
        where none of the keys in hand can sign the next.
        """
        head = self._newest(known)
        if seen:
            self._refuse_rollback(head, seen)
        self.signer_for(head)
        changed = head.manifest.recipients if head.manifest else None
        self._recipients = Recipients(self.config.recipients if changed is None else changed)
        return head

    def _newest(self, known: Head | None) -> Head:
        found = list_checkpoints(self.store, known.n if known else self._summarised())
        if not known and not any(listed.has_note for listed in found.values()):
            found = list_checkpoints(self.store)  # the newest may be the one that was summarised
        newest = max((n for n, listed in found.items() if listed.has_note), default=0)
        if newest:
            read = read_checkpoint(self.store, found[newest], self.config.origin, self._keys)
            first = self.config.verifier
            return first_fitting(read, lambda data: resume(data, read.note, read.signed, newest, first))
        return known or first_head(self._config_bytes, self.config.verifier)

    def signer_for(self, head: Head) -> Signer:
        """Of the keys in hand the one that must sign the checkpoint behind `head`. Raises SigningKeyRetired."""
        for signer in (self._signer, *(() if self._signer.verifier == head.signer else self._others())):
            if signer.verifier == head.signer:
                self._signer = signer
                return signer
        raise SigningKeyRetired(
            f"the signing key here ({self.verifier.id.hex()}) does not sign this archive: checkpoints behind number "
            f"{head.n} are signed with another one ({head.signer.id.hex() if head.signer else '?'})",
            "it was rotated: use the owner's file that was made then, and its signing key",
        )

    def _summarised(self) -> int:
        """A checkpoint that is not newer than the newest, so that those before it need not be listed."""
        return max((summary_number(key) or 0 for key in newest_summaries(self.store)), default=0)

    def _refuse_rollback(self, head: Head, seen: bytes) -> None:
        text, _ = self._keys.open(seen, "the note seen before")
        before = parse_head(text, "the note seen before")
        same = head.tree.size != before.size or head.tree.root() == before.root
        if before.origin != self.config.origin or head.tree.size < before.size or not same:
            raise ArchiveDiverged(
                f"the archive holds {head.tree.size} leaves, and a checkpoint with {before.size} was seen before",
                "it was rolled back or replaced: compare with another copy before shipping on",
            )

    def add_sealed(
        self, kind: str, key_of: KeyOf, plain: bytes, parse: type[_Entry], **members: Any
    ) -> _Entry:
        """Stores an object encrypted to the recipients, and gives its entry."""
        return _entry(kind, self.store_sealed(key_of, plain), parse, members)

    def add_plain(
        self, kind: str, key_of: KeyOf, plain: bytes, parse: type[_Entry], **members: Any
    ) -> _Entry:
        """Stores an object in the clear, and gives its entry: it must hold no patient data."""
        return _entry(kind, self._store(key_of, plain, plain, ""), parse, members)

    def store_sealed(self, key_of: KeyOf, plain: bytes) -> Named:
        """Stores an object encrypted to the recipients, which something else than an entry will name."""
        recipients = self._in_force
        return self._store(key_of, recipients.seal(plain), plain, recipients.suffix)

    def _store(self, key_of: KeyOf, stored: bytes, plain: bytes, suffix: str) -> Named:
        digest = hashlib.sha256(stored)
        key = key_of(digest.hexdigest(), suffix)
        self.put(key, stored)
        return Named(key, digest.digest(), hashlib.sha256(plain).digest(), len(stored))

    def put(self, key: str, data: bytes) -> None:
        """Stores bytes whose digest is in the key: that they are there already is as good."""
        try:
            self.store.create(key, data)
        except AlreadyThere:
            return

    def commit(self, head: Head, manifest: Manifest) -> Head:
        """Creates the next checkpoint. Raises Busy where another writer was first: nothing counts of ours then."""
        signer = self.signer_for(head)
        data = manifest.to_bytes()
        tree = grown(head.tree, manifest, data)
        signed = TreeHead(self.config.origin, tree.size, tree.root())
        note = sign_note(head_text(signed), [signer])
        self.put(manifest_key(manifest.n, data), data)
        key = note_key(manifest.n)
        try:
            self.store.create(key, note)
        except AlreadyThere:
            if self.store.get(key) != note:  # else it is ours: the answer to an earlier try was lost
                raise Busy(
                    f"another shipper wrote checkpoint {manifest.n} first", "one shipper an archive is enough"
                ) from None
        return Head(manifest.n, manifest, note, tree, head.first)


def _entry(kind: str, named: Named, parse: type[_Entry], members: dict[str, Any]) -> _Entry:
    entry = parse_entry(entry_json(kind, *named, **members), "a new entry")
    assert isinstance(entry, parse)
    return entry
