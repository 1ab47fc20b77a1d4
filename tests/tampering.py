"""An archive with every kind of object in it, and what an attacker with all rights does to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from events.position import ACCESS, Position
from replicator.auditing.attesting import Outside
from replicator.auditing.verifying import Audit, Depth, Scope, verify
from replicator.joined import joined_range
from replicator.manifest import checkpoint_number
from replicator.memory_store import MemoryStore
from replicator.merging import HOUR
from replicator.note import Signer
from replicator.outcome import Outcome
from replicator.pruning import Doomed, is_needed, needed, prune
from replicator.snapshot import TableImage, write_snapshot
from replicator.upkeep import upkeep, upkeep_due
from tests.archives import IDENTITY, RECIPIENT, SIGNER, World, rewind_value
from tests.rotated import NEW_RECIPIENT, change_recipients, rotate

KINDS = (
    "archive.json",
    "log/",
    "schemas/",
    "snapshots/",
    "summaries/",
    "recipients/",
    "signers/",
    "checkpoints/merged/",
    "checkpoints/0",
)
EPOCH = bytes(range(16))


def world_with_everything(*, pruned: bool = False) -> World:
    """Every kind of object, merged and joined, with a rewind and rotated keys, and a tail behind them."""
    world = World()
    for hour in range(4):
        for _ in range(3):
            world.write(12, EPOCH if hour > 1 else None)
            world.write(3, topic=ACCESS)
            world.ship()
            world.clock.now += HOUR // 3
        if hour == 1:
            world.control(rewind_value(1, EPOCH, None, Position(), "recovery"))
            change_recipients(world, [NEW_RECIPIENT, RECIPIENT])
        if hour == 2:
            rotate(world)
        _keep_up(world)
    _snapshot(world)
    world.write(5, EPOCH)
    world.ship()
    if pruned:
        prune_all(world)
    return world


def _keep_up(world: World) -> None:
    index = world.index()
    if upkeep_due(index):
        entries = upkeep(world.log, world.archive, index)
        world.clock.now += 1
        world.shipper().ship_once(entries=entries)


def _snapshot(world: World) -> None:
    index = world.index()
    rows = ((f"row {n}", n) for n in range(50))
    entry = write_snapshot(
        world.archive,
        index.head.position,
        (),
        [TableImage("things", [("name", "text"), ("number", "integer")], rows)],
        random=world.random,
    )
    world.shipper().ship_once(entries=[entry])


def prune_all(world: World) -> None:
    """What pruning takes away when every grace is over."""
    needs = needed(world.index())
    prune(
        world.store,
        [Doomed(s.key, s.size_bytes) for s in world.store.list("") if not is_needed(s.key, needs)],
    )


def copy_of(store: MemoryStore) -> MemoryStore:
    copied = MemoryStore()
    copied._objects = dict(store._objects)
    return copied


def put(store, key: str, data: bytes) -> None:
    """Overwrites, as whoever has all rights can."""
    store.remove(key)
    store.create(key, data)


def newest_note(store) -> bytes:
    keys = [s.key for s in store.list("checkpoints/0") if (checkpoint_number(s.key) or (0, False))[1]]
    note: bytes = store.get(keys[-1])
    return note


def audit(
    store,
    note: bytes | None,
    depth: Depth = Depth.OBJECTS,
    *,
    key: bool = True,
    sheet: Signer = SIGNER,
    identity=IDENTITY,
    **scope,
) -> Audit:
    outside = [Outside("the kept note", note)] if note is not None else []
    return verify(lambda: (store, identity), Scope(depth, [sheet.verifier] if key else [], outside, **scope))


def assert_found(found: Audit, *keys: str) -> None:
    """Invalid, and every one of the objects is named."""
    assert found.outcome is Outcome.INVALID, found.reasons
    told = "\n".join(map(str, found.findings.kept))
    for key in keys:
        assert names(told, key), f"{key} is not named in:\n{told}"


def names(told: str, key: str) -> bool:
    """By its key; the objects of checkpoints, joined ones too, also by their numbers or by a range that holds them."""
    if key in told:
        return True
    place, joined = checkpoint_number(key), joined_range(key)
    if place is not None and f"checkpoint {place[0]}" in told:
        return True
    numbers = joined or (place and (place[0], place[0]))
    ranges = [(int(first), int(last)) for first, last in re.findall(r"checkpoints (\d+) to (\d+)", told)]
    return bool(numbers) and any(first <= numbers[0] and numbers[1] <= last for first, last in ranges)


def sampled(store, kinds: Sequence[str] = KINDS, each: int = 3) -> list[str]:
    """Keys of every kind: the first, the last, and some between."""
    found: list[str] = []
    for kind in kinds:
        keys = [s.key for s in store.list(kind)]
        step = max(1, len(keys) // each)
        found += dict.fromkeys([*keys[::step], *keys[-2:]])
    return list(dict.fromkeys(found))


def flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "first byte": lambda data: flipped(data, 0),
    "near the beginning": lambda data: flipped(data, len(data) // 10),
    "in the middle": lambda data: flipped(data, len(data) // 2),
    "near the end": lambda data: flipped(data, len(data) * 9 // 10),
    "last byte": lambda data: flipped(data, -1),
    "cut in half": lambda data: data[: len(data) // 2],
    "last byte cut": lambda data: data[:-1],
    "emptied": lambda _: b"",
    "one byte more": lambda data: data + b"\0",
    "twice": lambda data: data + data,
}
