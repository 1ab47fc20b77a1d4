"""The writer's side of an archive: creating it, adding objects, and committing checkpoints.

Everything that a checkpoint names exists before its note is created. Creating note n is the commit and the fence: of
two writers the second has lost, changed nothing that counts, and must look again. A writer needs no more than creating,
listing, and reading checkpoints; it cannot open what it stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from events.errors import ArchiveDiverged, BadConfiguration, Busy
from replicator.archive_index import ArchiveIndex, open_archive
from replicator.checkpoints import first_fitting, list_checkpoints, read_checkpoint
from replicator.config import ArchiveConfig, new_config, read_config
from replicator.encryption import Recipients
from replicator.entries import Entry, entry_json, parse_entry
from replicator.manifest import CONFIG_KEY, Head, Manifest, first_head, grown, manifest_key, note_key, resume
from replicator.note import Signer, TreeHead, Verifier, head_text, open_note, parse_head, sign_note
from replicator.stores import AlreadyThere, ArchiveStore
from replicator.summary import newest_summaries, summary_number

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


class Archive:
    """An archive that can be written. Safe to use from many threads but for `commit`."""

    def __init__(
        self, store: ArchiveStore, signer: Signer, config: ArchiveConfig, config_bytes: bytes
    ) -> None:
        self.store = store
        self.config = config
        self._config_bytes = config_bytes
        self._signer = signer
        self._recipients = Recipients(config.recipients)

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
    def open(cls, store: ArchiveStore, signer: Signer) -> Archive:
        """An archive that stands. Raises Refused where none is, BadConfiguration where the key is not its clinic's."""
        config, data = read_config(store)
        if config.verifier.name != signer.verifier.name:
            raise BadConfiguration(
                "the signing key is that of another clinic", "check the keys folder and the archive's place"
            )
        return cls(store, signer, config, data)

    @property
    def verifier(self) -> Verifier:
        return self._signer.verifier

    def head(self, known: Head | None = None, seen: bytes = b"") -> Head:
        """Where the archive stands, read from its newest checkpoint alone.

        `known`: a head from before, so that only newer checkpoints are listed. `seen`: the newest note that was seen
        elsewhere. Raises Corrupt, ArchiveGap, ArchiveDiverged (rolled back), StoreUnavailable.
        """
        found = list_checkpoints(self.store, known.n if known else self._summarised())
        if not known and not any(listed.has_note for listed in found.values()):
            found = list_checkpoints(self.store)  # the newest may be the one that was summarised
        newest = max((n for n, listed in found.items() if listed.has_note), default=0)
        if newest:
            read = read_checkpoint(self.store, found[newest], self.config.origin, [self.verifier])
            head = first_fitting(read, lambda data: resume(data, read.note, read.signed, newest))
        else:
            head = known or first_head(self._config_bytes)
        if seen:
            self._refuse_rollback(head, seen)
        return head

    def _summarised(self) -> int:
        """A checkpoint that is not newer than the newest, so that those before it need not be listed."""
        return max((summary_number(key) or 0 for key in newest_summaries(self.store)), default=0)

    def _refuse_rollback(self, head: Head, seen: bytes) -> None:
        text = open_note(seen, [self.verifier], "the note seen before")
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
        return self._store(key_of, self._recipients.seal(plain), plain, self._recipients.suffix)

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
        data = manifest.to_bytes()
        tree = grown(head.tree, manifest, data)
        signed = TreeHead(self.config.origin, tree.size, tree.root())
        note = sign_note(head_text(signed), [self._signer])
        self.put(manifest_key(manifest.n, data), data)
        key = note_key(manifest.n)
        try:
            self.store.create(key, note)
        except AlreadyThere:
            if self.store.get(key) != note:  # else it is ours: the answer to an earlier try was lost
                raise Busy(
                    f"another shipper wrote checkpoint {manifest.n} first", "one shipper an archive is enough"
                ) from None
        return Head(manifest.n, manifest, note, tree)


def _entry(kind: str, named: Named, parse: type[_Entry], members: dict[str, Any]) -> _Entry:
    entry = parse_entry(entry_json(kind, *named, **members), "a new entry")
    assert isinstance(entry, parse)
    return entry
