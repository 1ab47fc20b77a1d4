"""kill -9 of a shipper at every single operation in turn: what is archived is always a prefix, whole, and goes on.

The store dies before, after, or (for the log) right at an operation, with an error that nothing catches.
"""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.position import EVENTS, Partition, Position
from events.rules import Link
from replicator.snapshot import TableImage, open_snapshot, write_snapshot
from tests.archives import World, create_archive, everything, logged
from tests.examples import examples


class Killed(BaseException):
    """The process is gone."""


class Fuse:
    """Burns down by one at each operation; the process dies when it is out, and stays dead."""

    def __init__(self, left):
        self.left = left

    def burn(self):
        self.left -= 1
        if self.left < 0:
            raise Killed


class Mortal:
    """Passes calls on, and dies before or after one of them."""

    def __init__(self, inner, fuse, names):
        self._inner, self._fuse, self._names = inner, fuse, names

    def __getattr__(self, name):
        inner = getattr(self._inner, name)
        if name not in self._names:
            return inner

        def call(*args, **settings):
            self._fuse.burn()
            result = inner(*args, **settings)
            self._fuse.burn()
            return result

        return call


STORE = ("get", "list", "create")
LOG = ("append", "end", "identity", "start")


def ship_and_die(world, operations):
    """Whether the shipper lived to its end."""
    fuse = Fuse(operations)
    mortal = World(
        store=Mortal(world.store, fuse, STORE),
        log=Mortal(world.log, fuse, LOG),
        clock=world.clock,
        drawn=world.drawn,
        archive=world.archive,
        segment_bytes=world.segment_bytes,
    )
    try:
        mortal.archive = create_archive(mortal.store)
        mortal.shipper().ship_once()
    except Killed:
        return False
    finally:
        world.drawn = mortal.drawn
    return True


def check(world):
    """The archive opens, and what it holds is the log's, without a hole or a double."""
    index = world.index()
    assert everything(index) == logged(world.log, index.end())
    assert index.end().records() == sum(s.stop - s.first for held in index.segments.values() for s in held), (
        "segments overlap"
    )
    return index


@pytest.mark.parametrize("shipped_before", [0, 40])
def test_a_shipper_killed_at_every_operation_in_turn(shipped_before):
    for operations in itertools.count():
        world = World(segment_bytes=700)
        if shipped_before:
            world.write(shipped_before)
            world.ship()
        world.write(30)
        lived = ship_and_die(world, operations)
        check(world)
        world.write(5)
        world.ship()
        assert check(world).end() == world.log.end()
        if lived:
            break
    assert operations > 35, "it lived too early: operations were not counted"


def test_creating_an_archive_killed_at_every_operation():
    for operations in itertools.count():
        world = World()
        world.store._objects.clear()
        try:
            create_archive(Mortal(world.store, Fuse(operations), STORE))
        except Killed:
            create_archive(world.store)
            continue
        break
    world.ship()
    check(world)
    assert operations >= 2


def test_a_snapshot_killed_at_every_operation():
    rows = [(f"s{n}", n) for n in range(30)]
    table = TableImage("t", [("stream", "text"), ("n", "integer")], rows)
    position = Position({Partition(EVENTS, 0): 1})
    for operations in itertools.count():
        world = World()
        world.write(5)
        world.ship()
        try:
            mortal = create_archive(Mortal(world.store, Fuse(operations), STORE))
            entry = write_snapshot(mortal, position, [Link(None, position)], [table])
            World(store=world.store, log=world.log, clock=world.clock, archive=mortal).shipper().ship_once(
                [entry]
            )
        except Killed:
            for held in check(world).snapshots:  # the note may have been the last thing that it did
                assert list(open_snapshot(world.index(), held.id).rows("t")) == rows
            continue
        break
    (held,) = check(world).snapshots
    assert list(open_snapshot(world.index(), held.id).rows("t")) == rows
    assert operations > 15


@settings(max_examples=examples(40))
@given(
    st.lists(
        st.tuples(st.sampled_from(["write", "ship", "die", "two"]), st.integers(0, 60)),
        min_size=3,
        max_size=25,
    )
)
def test_any_sequence_of_writing_shipping_dying_and_racing(steps):
    world = World(segment_bytes=1_500)
    shippers = [world.shipper(name="one"), world.shipper(name="two")]
    shipped = Position()
    for what, number in steps:
        if what == "write":
            world.write(number)
        elif what == "ship":
            shipped = world.ship().position
        elif what == "two":
            shipped = shippers[number % 2].ship_once().position
        elif not ship_and_die(world, number):
            shippers = [world.shipper(name="one"), world.shipper(name="two")]
        index = check(world)
        assert index.end().covers(shipped), "what was once shipped is shipped for good"
        times = [mark.time for mark in index.marks]
        assert times == sorted(set(times))
    world.ship()
    assert check(world).end() == world.log.end()


@pytest.mark.parametrize("rounds", [3])
def test_after_any_death_every_byte_that_counts_is_named_once(rounds):
    world = World(segment_bytes=700)
    for operations in range(5, 40, 3):
        world.write(9)
        for _ in range(rounds):
            ship_and_die(world, operations)
    world.ship()
    keys = [entry.key for entry in check(world).entries]
    assert len(keys) == len(set(keys))
