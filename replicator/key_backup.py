"""Backups of the patients' keys: encrypted to the owner's recipients, in a place of their own, for a bounded time.

A key that is lost is a record that is lost, so a key is backed up before a checkpoint covers the first event under it.
A key that is destroyed must be gone from here too, so backups are not write-once for ever: a full one is made every
day, and what it replaces is removed `keep_days` later. Until then an old backup may hold what was erased.

What is encrypted is signed by the clinic: the recipients are public, so whoever can write to the place could make one
that says of every key that it is destroyed, and the next recovery would believe it.

Objects are `<clinic id>/<number, 12 digits>-<full|more>-<total>-<digest>.json.age`: a full one holds all keys and
marks, one called `more` what changed since the one before; `total` is how many keys and marks there were in all. It
never falls, so a store of keys that was lost or emptied shows before it replaces a backup. The store also notes each
number before an object bears it: where a higher one stands, the store was put back from an older copy, or another one
writes here too, and however many keys it holds, it replaces nothing either.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from events.clock import Clock, wall_millis
from events.errors import BadConfiguration, Corrupt, LostData, Refused, RekamError
from events.patient_keys import SECRET_BYTES, Changes, KeptKey, KeyStore, Mark
from replicator.canonical import canonical, parse_canonical
from replicator.encryption import SUFFIX, Identity, Recipients
from replicator.note import Signer, Verifier, open_note, sign_note
from replicator.stores import AlreadyThere, NoSuchObject, ObjectStore, Stored

FORMAT = 1
FULL_MILLIS = 86_400_000
MOST_BETWEEN = 500
"""Objects of changes after which a full one is made."""
_BACK = "'rekam recover --to latest' brings back what it lacks"
_KEY = re.compile(r"[0-9a-f]{32}/([0-9]{12})-(full|more)-([0-9]+)-([0-9a-f]{64})\.json\.age\Z")


class KeysMissing(LostData):
    """The store of keys holds fewer than were backed up."""


class Backup(NamedTuple):
    """One object."""

    number: int
    full: bool
    total: int
    key: str
    modified: int
    """By the store's clock, milliseconds UTC."""


@dataclass(frozen=True)
class Restored:
    """What a restore found."""

    backups: int
    keys: int
    streams: Sequence[str]
    """Those of which a key came back that was not here."""
    damaged: Sequence[str]
    """Objects that do not open."""
    refused: str = ""
    """Why the place was not read at all."""


class KeyBackup:
    """The backups of one clinic's keys in one store."""

    def __init__(
        self,
        open_store: Callable[[bool], ObjectStore],
        clinic_id: str,
        recipients: Sequence[str],
        *,
        place: str,
        keep_days: float,
        signer: Callable[[], Signer],
        verifiers: Callable[[], Sequence[Verifier]],
        clock: Clock = wall_millis,
    ) -> None:
        """`open_store`: opens the place, made if it is to be and is not there. `place`: its name.

        `signer` and `verifiers`: the clinic's, asked for when they are needed.
        """
        self._open, self._clinic, self._place = open_store, clinic_id, place
        self._numbers = f"{place} (numbers)"
        self._recipients = Recipients(recipients)
        self._signer, self._verifiers = signer, verifiers
        self._keep_millis = round(keep_days * 86_400_000)
        self._clock = clock
        self._looked_at: int | None = None

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who opens what is backed up."""
        return self._recipients.texts

    def is_used(self, keys: KeyStore) -> bool:
        """Whether anything was backed up here, or there is anything to back up."""
        return bool(keys.backed_up(self._place) or keys.changes(0).total)

    def bring_up_to_date(self, keys: KeyStore) -> None:
        """Everything that the store holds now is backed up on return.

        Raises KeysMissing where a backup held more than the store does, StoreUnavailable, BadConfiguration.
        """
        after = keys.backed_up(self._place)
        changes = keys.changes(after)
        now = self._clock()
        if changes.through == after and self._looked_at is not None and now - self._looked_at < FULL_MILLIS:
            return
        if not changes.total and not after and self.is_empty():
            self._looked_at = now
            return
        store = self._open(not after)
        held = self._list(store)
        self._refuse_another(held, keys, changes.total)
        if not after or self._full_is_due(held, now):
            self._full(store, keys, held)
        elif changes.through > after:
            self._store(store, keys, held, changes, full=False)
        self._looked_at = now
        self._sweep(store)

    @staticmethod
    def _full_is_due(held: Sequence[Backup], now: int) -> bool:
        at = max((index for index, backup in enumerate(held) if backup.full), default=None)
        return at is None or len(held) - at > MOST_BETWEEN or now - held[at].modified >= FULL_MILLIS

    def is_empty(self) -> bool:
        """Whether nothing was ever backed up here: a clinic that seals nothing needs no such place."""
        try:
            return not self._list(self._open(False))
        except RekamError:
            return True

    def replace(self, keys: KeyStore) -> int | None:
        """A full backup at once, and until when older ones may stand (milliseconds UTC); None: none does."""
        store = self._open(True)
        held = self._list(store)
        self._refuse_another(held, keys, keys.changes(0).total)
        self._full(store, keys, held)
        left = self._sweep(store)
        return left[-1].modified + self._keep_millis if len(left) > 1 else None

    def _full(self, store: ObjectStore, keys: KeyStore, held: Sequence[Backup]) -> None:
        self._store(store, keys, held, keys.changes(0), full=True)

    def _store(
        self, store: ObjectStore, keys: KeyStore, held: Sequence[Backup], changes: Changes, *, full: bool
    ) -> None:
        if not self._recipients.texts:
            raise BadConfiguration(
                "patients' keys cannot be backed up: archive.recipients is empty",
                "name the owner's recipient in rekam.toml, or turn keys.sealing off",
            )
        number = held[-1].number + 1 if held else 1
        document = _document(self._clinic, number, changes, full)
        stored = self._recipients.seal(canonical(_signed(document, self._signer())))
        kind, digest = "full" if full else "more", hashlib.sha256(stored).hexdigest()
        keys.set_backed_up(self._numbers, number)
        try:
            store.create(f"{self._clinic}/{number:012d}-{kind}-{changes.total}-{digest}.json{SUFFIX}", stored)
        except AlreadyThere:
            pass  # an earlier try of ours, whose answer was lost
        keys.set_backed_up(self._place, changes.through)

    def _refuse_another(self, held: Sequence[Backup], keys: KeyStore, total: int) -> None:
        """`held` was listed before: a number that we note meanwhile is no surprise."""
        most = max((backup.total for backup in held), default=0)
        if total < most:
            raise KeysMissing(
                f"the store of patients' keys holds {total} keys and marks, and its backup {most}",
                _BACK,
            )
        if held and held[-1].number > keys.backed_up(self._numbers):
            raise KeysMissing(
                "the store of patients' keys is an older copy of the one that wrote the newest of its backups, or"
                " another one",
                _BACK,
            )

    def _list(self, store: ObjectStore) -> list[Backup]:
        found = (_backup(stored) for stored in store.list(f"{self._clinic}/"))
        return sorted((backup for backup in found if backup is not None), key=lambda b: (b.number, b.key))

    def _sweep(self, store: ObjectStore) -> list[Backup]:
        """Removes what was replaced long enough ago, by the store's clock; what is left."""
        held = self._list(store)
        now = max((backup.modified for backup in held), default=0)
        left = []
        for backup in held:
            replaced = next((b.modified for b in held if b.full and b.number > backup.number), None)
            if replaced is None or now - replaced < self._keep_millis or not _removed(store, backup):
                left.append(backup)
        return left

    # -- coming back ---------------------------------------------------------------------------------------------

    def restore(
        self, keys: KeyStore, identity: Identity, destroyed: Collection[str] = frozenset()
    ) -> Restored:
        """Takes in the newest full backup that opens and all that came after it. Twice is once.

        `destroyed`: ids of keys that came to their end after the backup, perhaps; they and all others of their
        streams come back destroyed: not for a moment do they stand.

        Raises Refused where the identity is another's, StoreUnavailable.
        """
        try:
            store = self._open(False)
            held = self._list(store)
        except Refused as error:  # there is no such place, or it is not for us
            return Restored(0, 0, (), (), error.message)
        documents: list[tuple[list[KeptKey], list[Mark]]] = []
        damaged: list[str] = []
        number = -1
        for backup in reversed(held):
            if number >= 0 and backup.number < number:
                break
            try:
                documents.append(_read(store, backup, identity, self._verifiers()))
            except (Corrupt, NoSuchObject):
                damaged.append(backup.key)
                continue
            if backup.full and number < 0:
                number = backup.number
        erased = {key.stream for found, _ in documents for key in found if key.id in destroyed}
        back: set[str] = set()
        for found, marks in reversed(documents):
            back |= set(keys.merge([_without(key, erased) for key in found], marks))
        if documents:
            keys.set_backed_up(self._numbers, held[-1].number)
        return Restored(len(documents), sum(len(found) for found, _ in documents), sorted(back), damaged)


def _without(key: KeptKey, erased: Collection[str]) -> KeptKey:
    return key._replace(secret=None) if key.stream in erased else key


def _removed(store: ObjectStore, backup: Backup) -> bool:
    try:
        store.remove(backup.key)
    except Refused:
        return False  # the place is locked: it says itself until when
    return True


def _backup(stored: Stored) -> Backup | None:
    found = _KEY.match(stored.key)
    if found is None:
        return None
    return Backup(int(found[1]), found[2] == "full", int(found[3]), stored.key, stored.modified)


def _document(clinic_id: str, number: int, changes: Changes, full: bool) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "clinic": clinic_id,
        "n": number,
        "full": full,
        "keys": [
            [key.id, key.stream, key.made_at, None if key.secret is None else key.secret.hex()]
            for key in changes.keys
        ],
        "marks": [[mark.stream, mark.name, dict(mark.body)] for mark in changes.marks],
    }


def _signed(document: dict[str, Any], signer: Signer) -> dict[str, Any]:
    return {**document, "statement": sign_note(_statement(document), [signer]).decode()}


def _statement(document: dict[str, Any]) -> bytes:
    """What is signed: two lines, so that it cannot pass for a checkpoint, which has three."""
    return f"rekam keys\n{hashlib.sha256(canonical(document)).hexdigest()}\n".encode()


def _read(
    store: ObjectStore, backup: Backup, identity: Identity, verifiers: Sequence[Verifier]
) -> tuple[list[KeptKey], list[Mark]]:
    """Raises Corrupt where it is not what the clinic signed under that number."""
    key = backup.key
    stored = store.get(key)
    found = _KEY.match(key)
    if found is None or hashlib.sha256(stored).hexdigest() != found[4]:
        raise Corrupt(f"{key} does not hold the bytes that its name says")
    raw = parse_canonical(identity.open(stored, key), key)
    try:
        if raw["format"] > FORMAT:
            raise Refused(f"{key} has format {raw['format']}", "use a newer release")
        document = {name: value for name, value in raw.items() if name != "statement"}
        signed = open_note(raw["statement"].encode(), verifiers, key)
        if signed != _statement(document) or (raw["n"], raw["full"]) != (backup.number, backup.full):
            raise Corrupt(f"{key} is not what was signed")
        keys = [KeptKey(str(i), str(s), int(at), _secret(secret)) for i, s, at, secret in raw["keys"]]
        marks = [Mark(str(s), str(name), {**body, "at": int(body["at"])}) for s, name, body in raw["marks"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Corrupt(f"{key} is not a backup of keys ({type(error).__name__})") from None
    return keys, marks


def _secret(text: str | None) -> bytes | None:
    if text is None:
        return None
    secret = bytes.fromhex(text)
    if len(secret) != SECRET_BYTES:
        raise ValueError("not a key")
    return secret
