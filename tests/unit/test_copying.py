"""A copy of an archive that is being shipped to is a whole one, as it stood at some moment."""

from __future__ import annotations

from replicator.archive import open_archive
from replicator.backups import Backup, Kind, add_backup
from replicator.copying import compare_archives, copy_archive
from replicator.memory_store import MemoryStore
from tests.archives import IDENTITY, SIGNER, World, everything, logged


def take_a_backup(world: World) -> None:
    """One more checkpoint, which names an object whose key comes before those of checkpoints."""
    backup = Backup("b1", Kind.FULL, 1, 1, 1, {}, 0, 0, 0, 0, None, None, 0, "")
    world.shipper().ship_once(entries=[add_backup(world.archive, backup)])


class Busy(MemoryStore):
    """A store that is written to while it is listed, once."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._objects = world.store._objects
        self.world = world
        self.waiting = True

    def list(self, prefix: str, after: str = ""):
        for stored in super().list(prefix, after):
            if self.waiting and not stored.key.startswith(("archive", "backups/")):
                self.waiting = False
                take_a_backup(self.world)
                yield from super().list(prefix, stored.key[:-1])
                return
            yield stored


def test_a_copy_holds_all_that_its_newest_note_names():
    world = World()
    world.write(30)
    world.ship()
    copy = MemoryStore()
    copy_archive(Busy(world), copy)
    held = open_archive(copy, IDENTITY, verifiers=[SIGNER.verifier])
    assert all(copy.get(entry.key) for entry in held.entries)
    assert everything(held) == logged(world.log, held.end())
    copy_archive(world.store, copy)
    assert compare_archives(world.store, copy).alike
