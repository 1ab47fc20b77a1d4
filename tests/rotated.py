"""Archives whose keys were rotated, for tests."""

from __future__ import annotations

from events.position import EVENTS
from replicator.archive import Archive
from replicator.encryption import new_identity
from replicator.note import Signer
from replicator.rotations import Changed, add_recipients, add_signer
from replicator.trust import Handover, write_handover
from tests.archives import SIGNER, World

ACTOR = {"id": "owner", "role": "operator", "system": "test"}
SECOND, THIRD = (Signer(SIGNER.verifier.name, bytes([n]) * 32) for n in (2, 3))
NEW_IDENTITY, NEW_RECIPIENT = new_identity()


def handover(previous: Signer = SIGNER, following: Signer = SECOND) -> Handover:
    return write_handover(previous, following, time=1, actor=ACTOR, reason="a test")


def rotate(world: World, previous: Signer = SIGNER, following: Signer = SECOND) -> int:
    """The number of the checkpoint that `previous` signs last; `world` goes on with the other key."""
    world.clock.now += 1
    shipped = world.shipper().ship_once([add_signer(world.archive, handover(previous, following))])
    world.archive = Archive.open(world.store, following)
    return shipped.checkpoint


def change_recipients(world: World, recipients: list[str]) -> int:
    world.clock.now += 1
    entry = add_recipients(world.archive, Changed(1, ACTOR, "a test", tuple(recipients)))
    return world.shipper().ship_once([entry]).checkpoint


def rotated_world() -> tuple[World, int]:
    """Two checkpoints before, two after the key was rotated, and its last one's number."""
    world = World()
    for _ in range(2):
        world.write(5)
        world.ship()
    n = rotate(world)
    for _ in range(2):
        world.write(5, topic=EVENTS)
        world.ship()
    return world, n
