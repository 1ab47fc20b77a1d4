"""Backups of patients' keys: what they hold, when they are made, when they go, and what they bring back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from events.errors import BadConfiguration, Refused, StoreUnavailable
from events.patient_keys import ERASED, KeyStore, Mark, MemoryKeys
from replicator.encryption import Identity, new_identity
from replicator.key_backup import FULL_MILLIS, KeyBackup, KeysMissing
from replicator.memory_store import MemoryStore
from replicator.note import Signer
from replicator.stores import ObjectStore, Stored

CLINIC = "c" * 32
TEXT, RECIPIENT = new_identity()
SIGNER = Signer(f"rekam/{CLINIC}", bytes(range(32)))
DAY = 86_400_000


@dataclass
class World:
    now: int = DAY
    store: MemoryStore = field(init=False)
    keys: KeyStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryStore(lambda: self.now)
        self.keys = MemoryKeys(lambda: self.now)
        self.asked = 0

    def open(self, create: bool) -> ObjectStore:
        self.asked += 1
        return self.store

    def backup(
        self, keep_days: float = 3, recipients: tuple[str, ...] = (RECIPIENT,), signer: Signer = SIGNER
    ) -> KeyBackup:
        return KeyBackup(
            self.open,
            CLINIC,
            recipients,
            place="there",
            keep_days=keep_days,
            signer=lambda: signer,
            verifiers=lambda: [SIGNER.verifier],
            clock=lambda: self.now,
        )

    def objects(self) -> list[str]:
        return [stored.key.split("/")[1].split("-")[1] for stored in self.store.list("")]

    def restored(self) -> MemoryKeys:
        keys = MemoryKeys()
        self.backup().restore(keys, Identity(TEXT))
        return keys


@pytest.fixture
def world() -> World:
    return World()


def test_a_clinic_that_seals_nothing_needs_no_place(world: World) -> None:
    world.backup().bring_up_to_date(world.keys)
    assert world.objects() == []
    failing = dataclasses.replace(world)

    def unreachable(create: bool) -> ObjectStore:
        raise StoreUnavailable("not there")

    failing.open = unreachable  # type: ignore[method-assign]
    failing.backup().bring_up_to_date(failing.keys)


def test_keys_that_are_new_are_added_and_come_back(world: World) -> None:
    backup = world.backup()
    one = world.keys.make(["patient-a"])["patient-a"]
    backup.bring_up_to_date(world.keys)
    two = world.keys.make(["patient-b"])["patient-b"]
    backup.bring_up_to_date(world.keys)
    assert world.objects() == ["full", "more"]
    back = world.restored()
    assert (back.find(one.id), back.find(two.id)) == (one.secret, two.secret)
    assert world.backup().restore(back, Identity(TEXT)).streams == []


def test_nothing_new_asks_nobody(world: World) -> None:
    backup = world.backup()
    world.keys.make(["patient-a"])
    backup.bring_up_to_date(world.keys)
    asked = world.asked
    backup.bring_up_to_date(world.keys)
    assert world.asked == asked


def test_a_full_one_is_made_every_day_and_what_it_replaces_goes_in_time(world: World) -> None:
    backup = world.backup(keep_days=3)
    world.keys.make(["patient-a"])
    backup.bring_up_to_date(world.keys)
    for _ in range(3):
        world.now += FULL_MILLIS
        backup.bring_up_to_date(world.keys)
    assert world.objects() == ["full"] * 4
    world.now += FULL_MILLIS  # the first was replaced three days ago
    backup.bring_up_to_date(world.keys)
    assert world.objects() == ["full"] * 4
    assert world.restored().make(["patient-a"]) == world.keys.make(["patient-a"])


def test_what_was_erased_is_in_no_backup_once_the_time_is_over(world: World) -> None:
    backup = world.backup(keep_days=3)
    key = world.keys.make(["patient-a"])["patient-a"]
    backup.bring_up_to_date(world.keys)
    world.now += 1000
    world.keys.destroy("patient-a", Mark("patient-a", ERASED, {"at": world.now}))
    until = backup.replace(world.keys)
    assert until == world.now + 3 * DAY
    assert world.restored().find(key.id) is None, "the newest says that it is destroyed"
    world.now = until + FULL_MILLIS
    backup.bring_up_to_date(world.keys)
    for stored in world.store.list(""):
        assert key.secret.hex().encode() not in Identity(TEXT).open(world.store.get(stored.key), "")
    assert backup.replace(world.keys) is not None
    assert world.backup(keep_days=0).replace(world.keys) is None
    assert world.objects() == ["full"]


def test_a_store_that_lost_keys_replaces_no_backup(world: World) -> None:
    world.keys.make(["patient-a", "patient-b"])
    world.backup().bring_up_to_date(world.keys)
    before = world.objects()
    emptied = MemoryKeys(lambda: world.now)
    for keys in (emptied, MemoryKeys(lambda: world.now)):
        with pytest.raises(KeysMissing):
            world.backup().bring_up_to_date(keys)
        with pytest.raises(KeysMissing):
            world.backup().replace(keys)
        keys.make(["patient-c"])
        with pytest.raises(KeysMissing):
            world.backup().bring_up_to_date(keys)
    assert world.objects() == before
    world.backup().restore(emptied, Identity(TEXT))
    world.backup().bring_up_to_date(emptied)


def test_a_damaged_backup_is_passed_over_for_an_older_one(world: World) -> None:
    backup = world.backup()
    key = world.keys.make(["patient-a"])["patient-a"]
    backup.bring_up_to_date(world.keys)
    world.now += FULL_MILLIS
    backup.bring_up_to_date(world.keys)
    newest = list(world.store.list(""))[-1].key
    data = world.store.get(newest)
    world.store.remove(newest)
    world.store.create(newest, data[:-1] + bytes([data[-1] ^ 1]))
    keys = MemoryKeys()
    found = world.backup().restore(keys, Identity(TEXT))
    assert found.damaged == [newest]
    assert keys.find(key.id) == key.secret


def test_another_owners_file_is_refused(world: World) -> None:
    world.keys.make(["patient-a"])
    world.backup().bring_up_to_date(world.keys)
    with pytest.raises(Refused, match="cannot be opened"):
        world.backup().restore(MemoryKeys(), Identity(new_identity()[0]))


def test_a_place_that_refuses_is_told_of(world: World) -> None:
    """Else it would pass for one where nothing was ever backed up."""

    class Refusing(MemoryStore):
        def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
            raise Refused("the store refuses (AccessDenied)")

    world.store = Refusing()
    assert "AccessDenied" in world.backup().restore(MemoryKeys(), Identity(TEXT)).refused


def test_keys_never_lie_in_the_clear(world: World) -> None:
    world.keys.make(["patient-a"])
    with pytest.raises(BadConfiguration, match="recipients"):
        world.backup(recipients=()).bring_up_to_date(world.keys)
    assert world.objects() == []


class Locked(MemoryStore):
    def remove(self, key: str) -> None:
        raise Refused("locked")


def test_a_locked_place_keeps_its_backups_and_stops_nobody(world: World) -> None:
    world.store = Locked(lambda: world.now)
    backup = world.backup(keep_days=0)
    world.keys.make(["patient-a"])
    backup.bring_up_to_date(world.keys)
    assert backup.replace(world.keys) is not None
    assert world.objects() == ["full", "full"]


def test_a_store_put_back_from_an_old_copy_replaces_no_backup_however_many_keys_it_has_since(
    world: World,
) -> None:
    """It holds as many as the backup does, and not the same: counting alone would let it through, and the full
    backup after that would be without the keys that the copy lacked, and with those that were destroyed."""
    key = world.keys.make(["patient-a"])["patient-a"]
    world.backup().bring_up_to_date(world.keys)
    copy = copied(world.keys)
    world.keys.make(["patient-b"])
    world.keys.destroy("patient-a", Mark("patient-a", ERASED, {"at": world.now}))
    world.backup().replace(world.keys)
    before = world.objects()
    copy.make(["patient-c", "patient-d", "patient-e"])
    for _ in range(2):
        with pytest.raises(KeysMissing):
            world.backup().bring_up_to_date(copy)
        with pytest.raises(KeysMissing):
            world.backup().replace(copy)
        world.now += FULL_MILLIS
    assert world.objects() == before
    world.backup().restore(copy, Identity(TEXT))
    world.backup().bring_up_to_date(copy)
    back = world.restored()
    assert back.find(key.id) is None
    assert {key.stream for key in back.changes(0).keys} == {f"patient-{name}" for name in "abcde"}


def copied(keys: KeyStore) -> KeyStore:
    assert isinstance(keys, MemoryKeys)
    copy = MemoryKeys(keys._clock)
    copy._keys, copy._marks, copy._places = dict(keys._keys), dict(keys._marks), dict(keys._places)
    copy._number = keys._number
    return copy


def test_who_died_after_storing_a_backup_goes_on(world: World) -> None:
    """What was stored is known to be the store's own, though nobody heard that it was."""

    class Died(Exception):
        pass

    class Dying(MemoryStore):
        def create(self, key: str, data: bytes) -> None:
            super().create(key, data)
            raise Died

    world.keys.make(["patient-a"])
    whole, world.store = world.store, Dying(lambda: world.now)
    with pytest.raises(Died):
        world.backup().bring_up_to_date(world.keys)
    for stored in world.store.list(""):
        whole.create(stored.key, world.store.get(stored.key))
    world.store = whole
    world.backup().bring_up_to_date(world.keys)
    assert world.restored().make(["patient-a"]) == world.keys.make(["patient-a"])


def test_a_backup_that_the_clinic_did_not_sign_destroys_nothing(world: World) -> None:
    """Whoever can write to the place knows the recipients; nor does a signed one count under another number."""
    key = world.keys.make(["patient-a"])["patient-a"]
    world.backup().bring_up_to_date(world.keys)
    forger = copied(world.keys)
    forger.destroy("patient-a", Mark("patient-a", ERASED, {"at": 1}))
    world.backup(signer=Signer(f"rekam/{CLINIC}", bytes(32))).replace(forger)
    [first, forged] = [stored.key for stored in world.store.list("")]
    again = first.replace("000000000001-", "000000000009-")
    world.store.create(again, world.store.get(first))
    found = world.backup().restore(world.keys, Identity(TEXT))
    assert found.damaged == [again, forged]
    assert world.keys.find(key.id) == key.secret
    assert not world.keys.marks(ERASED)
