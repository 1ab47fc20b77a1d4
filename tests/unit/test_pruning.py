"""What an archive does not need any more goes after a grace by the store's clock; what it needs never does."""

from __future__ import annotations

import random

import pytest

from events.errors import Busy, Refused
from replicator.archive import open_archive
from replicator.pruning import DAY_MILLIS, PIN_MILLIS, needed, pin, plan_pruning, prune
from tests.archives import IDENTITY, SIGNER, World, everything, logged
from tests.unit.test_upkeep import live


def world_with_history(hours: int = 30) -> World:
    world = World()
    world.store._clock = world.clock  # its objects are as old as its clock says
    live(world, hours)
    return world


def plan(world: World, **settings):
    return plan_pruning(world.store.list(""), needed(world.index()), world.store.now(), **settings)


def test_nothing_goes_before_its_grace_and_everything_superfluous_after():
    world = world_with_history()
    assert not plan(world, grace_days=7).remove
    assert plan(world, grace_days=7).waiting > 50
    world.clock.now += 8 * DAY_MILLIS
    planned = plan(world, grace_days=7)
    assert planned.remove
    assert not planned.waiting
    done = prune(world.store, planned.remove)
    assert done.removed == len(planned.remove)
    for whole in (False, True):
        index = open_archive(world.store, IDENTITY, verifiers=[SIGNER.verifier], whole=whole)
        assert everything(index) == logged(world.log, index.end())
    assert not plan(world, grace_days=0).remove, "once is enough"
    live(world, 3)
    assert everything(world.index()) == logged(world.log, world.index().end())


def test_what_was_merged_just_now_waits_though_it_is_old():
    world = World()
    world.store._clock = world.clock
    world.write(40)
    world.ship()
    world.clock.now += 20 * DAY_MILLIS
    live(world, 2)  # merges what was shipped twenty days ago
    assert not [d for d in plan(world, grace_days=7).remove if d.key.startswith("log/")]


def test_pruning_stops_anywhere_and_nothing_is_lost():
    rnd = random.Random(5)
    world = world_with_history(26)
    world.clock.now += 8 * DAY_MILLIS
    doomed = list(plan(world).remove)
    for _ in range(4):
        some = sorted(doomed, key=lambda d: (d.key.startswith("checkpoints/"), d.key))
        prune(world.store, some[: rnd.randint(1, len(some))])
        for whole in (False, True):
            index = open_archive(world.store, IDENTITY, verifiers=[SIGNER.verifier], whole=whole)
            assert everything(index) == logged(world.log, index.end())
        doomed = list(plan(world).remove)
        if not doomed:
            break


def test_a_pin_holds_everything_until_it_is_old():
    world = world_with_history(3)
    world.clock.now += 8 * DAY_MILLIS
    pin(world.store, "a-recovery", "why")
    with pytest.raises(Busy, match="may still read the archive") as refused:
        plan(world)
    assert "in 48 hours" in str(refused.value.hint)
    world.clock.now += PIN_MILLIS - 1
    with pytest.raises(Busy) as refused:
        plan(world)
    assert "in 1 hours" in str(refused.value.hint)
    world.clock.now += 2
    assert plan(world).remove


def test_an_archive_with_a_hole_is_not_pruned():
    world = world_with_history(3)
    world.clock.now += 8 * DAY_MILLIS
    segment = next(iter(world.index().segments.values()))[0]
    needs = needed(world.index())
    world.store.remove(segment.key)
    with pytest.raises(Refused, match="missing"):
        plan_pruning(world.store.list(""), needs, world.store.now())
