"""Removing what an archive does not need any more: planned purely, after a grace, by the store's own clock.

What is needed is what counts: every entry that no other replaces, the parts of those snapshots, the checkpoints that no
joined object holds, archive.json. All else (segments that were merged, checkpoints that were joined, what was taken off
the catalogue, orphans of writers that died) may go once it and what took its place have stood for the grace: whoever
began to read before that has ended by then, or has pinned the archive.

So pruning never costs a recovery point: those are given up by tombstones, which say so, and come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from events.errors import Busy, Refused
from replicator.archive import ArchiveIndex
from replicator.copying import PINS
from replicator.manifest import CHECKPOINTS, CONFIG_KEY, checkpoint_number
from replicator.stores import ArchiveStore, ObjectKeeper, ObjectReader, ObjectRemover, Stored

DAY_MILLIS = 86_400_000
GRACE_DAYS = 7
PIN_MILLIS = 2 * DAY_MILLIS
HOUR_MILLIS = DAY_MILLIS // 24
"""How long a pin holds if nobody removes it: longer than any recovery."""


class Needed(NamedTuple):
    """What an archive needs of its objects."""

    keys: frozenset[str]
    folders: frozenset[str]
    """Of the snapshots that count: their parts are needed, whatever their manifests say of them."""
    replaced_by: Mapping[str, str]
    """key of what counts no more -> key of what took its place."""
    joined: int
    """Up to this number checkpoints stand in joined objects."""


def needed(index: ArchiveIndex) -> Needed:
    keys = frozenset({CONFIG_KEY, *(entry.key for entry in index.entries)})
    folders = frozenset(entry.key.rsplit("/", 1)[0] for entry in index.snapshots)
    replaced_by = {key: entry.key for entry in index.entries for key in entry.replaces}
    return Needed(keys, folders, replaced_by, index.joined[-1].last.n if index.joined else 0)


class Doomed(NamedTuple):
    """An object that may go."""

    key: str
    size_bytes: int


@dataclass(frozen=True)
class PrunePlan:
    """What would be removed, and what waits."""

    remove: Sequence[Doomed]
    waiting: int
    """Objects that are not needed, and whose grace is not over."""
    examined: int


def plan_pruning(
    listing: Iterable[Stored], needs: Needed, now: int, *, grace_days: float = GRACE_DAYS
) -> PrunePlan:
    """`now` and the listing's times are the store's. Raises Busy while the archive is pinned, Refused where what is
    needed is not there: an archive with holes is repaired first, since what looks superfluous may be its last copy."""
    held = {stored.key: stored for stored in listing}
    pins = [s for s in held.values() if s.key.startswith(PINS) and now - s.modified < PIN_MILLIS]
    if pins:
        begun = max(pin.modified for pin in pins)
        raise Busy(
            f"{len(pins)} recoveries began in the last {PIN_MILLIS // DAY_MILLIS} days, and may still read the archive",
            f"try again in {-(-(begun + PIN_MILLIS - now) // HOUR_MILLIS)} hours: whether they have ended or not, "
            "what they may read is kept so long",
        )
    missing = sorted(needs.keys - held.keys())
    if missing:
        raise Refused(
            f"{len(missing)} objects that the archive needs are missing, such as {missing[0]}: nothing is removed",
            "look with 'rekam audit verify'; 'rekam archive repair' or another copy brings them back",
        )
    oldest = now - round(grace_days * DAY_MILLIS)
    remove, waiting = [], 0
    for stored in held.values():
        if is_needed(stored.key, needs):
            continue
        since = max(stored.modified, _replaced_at(stored.key, needs, held))
        if since < oldest:
            remove.append(Doomed(stored.key, stored.size_bytes))
        else:
            waiting += 1
    return PrunePlan(remove, waiting, len(held))


def is_needed(key: str, needs: Needed) -> bool:
    """Whether the archive needs the object: it counts, or it is of a checkpoint that stands nowhere else."""
    if key in needs.keys or key.rsplit("/", 1)[0] in needs.folders:
        return True
    place = checkpoint_number(key)
    return place is not None and place[0] > needs.joined


def _replaced_at(key: str, needs: Needed, held: Mapping[str, Stored]) -> int:
    """When what took its place was stored; 0 where that was replaced itself, and so came long before."""
    by = held.get(needs.replaced_by.get(key, ""))
    return by.modified if by else 0


@dataclass
class Pruned:
    """What became of a plan."""

    removed: int = 0
    size_bytes: int = 0
    locked: int = 0
    """Objects that the store holds for some time yet."""


def prune(
    remover: ObjectRemover, doomed: Sequence[Doomed], progress: Callable[[int], object] = lambda done: None
) -> Pruned:
    """Removes what a plan names; what is locked stays for the next time. Raises StoreUnavailable."""
    done = Pruned()
    # Notes last, manifests before them: what is half removed still looks like what it was.
    for key, size in sorted(doomed, key=lambda d: (d.key.startswith(CHECKPOINTS), d.key)):
        try:
            remover.remove(key)
        except Refused:
            done.locked += 1
            continue
        done.removed += 1
        done.size_bytes += size
        progress(done.removed)
    return done


def pin(store: ArchiveStore, name: str, why: str) -> str:
    """Keeps everything that stands until the pin is removed, or PIN_MILLIS have passed. Gives its key."""
    key = f"{PINS}{name}.json"
    store.create(key, why.encode())
    return key


def extend_locks(reader: ObjectReader, keeper: ObjectKeeper, needs: Needed) -> int:
    """Locks for a whole term from now on what the archive needs; how many objects. Raises as ObjectKeeper."""
    extended = 0
    for stored in reader.list(""):
        if is_needed(stored.key, needs):
            if not keeper.extend(stored.key):
                return 0
            extended += 1
    return extended
