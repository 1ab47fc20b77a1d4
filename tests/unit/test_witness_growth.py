"""The proof from a frontier is the proof from all leaves; and an archive gives it whatever was joined or removed."""

from __future__ import annotations

import pytest

from events.errors import ArchiveGap
from replicator.archive import open_archive
from replicator.manifest import checkpoint_number
from replicator.merkle import Frontier, consistency_proof, consistent, leaf_hash
from replicator.note import parse_head
from replicator.witnessing.growth import Growth, growth_from, proof_from_frontier, read_on
from tests.archives import World
from tests.unit.test_upkeep import forget_small, live

LEAVES = [leaf_hash(b"%d" % n) for n in range(70)]


@pytest.mark.parametrize("size", range(1, 71))
def test_a_proof_from_the_frontier_is_the_proof_from_all_leaves(size: int) -> None:
    frontier = Frontier()
    for old in range(1, size + 1):
        frontier.append(LEAVES[old - 1])
        assert proof_from_frontier(frontier, LEAVES[old:size]) == consistency_proof(LEAVES[:size], old)


def heads(world: World) -> list[tuple[int, bytes]]:
    """(size, root) of every checkpoint of an archive of which nothing was removed."""
    notes = [s.key for s in world.store.list("checkpoints/") if (checkpoint_number(s.key) or (0, 0))[1]]
    found = [parse_head(world.store.get(key).partition(b"\n\n")[0] + b"\n") for key in notes]
    return [(head.size, head.root) for head in found]


@pytest.fixture(scope="module")
def lived() -> tuple[World, list[tuple[int, bytes]]]:
    """Thirty hours: joined by the hour and by the day, with some behind that are not; the small ones are gone."""
    world = World()
    live(world, 30)
    found = heads(world)
    forget_small(world)
    return world, found


def test_from_every_checkpoint_to_the_newest(lived) -> None:
    world, found = lived
    index = world.index()
    newest, root = found[-1]
    assert len(index.joined) > 1
    for size, old_root in found:
        growth = growth_from(index, size)
        assert growth.base.size == size, "nothing was read that the witness has seen"
        read_on(growth, index)
        assert (growth.size, growth.head.tree.root()) == (newest, root)
        assert consistent(size, old_root, newest, root, growth.proof(size))


def test_from_sizes_between_checkpoints_and_in_strides(lived) -> None:
    world, found = lived
    index = world.index()
    roots = dict(found)
    size = 2
    growth = growth_from(index, size)
    while growth.size < index.head.tree.size:
        read_on(growth, index, limit=7)
        assert growth.reaches(size)
        if size in roots:
            assert consistent(size, roots[size], growth.size, roots[growth.size], growth.proof(size))
        size = growth.size - 1 if size in roots else growth.size
        growth.forget(size)
        assert growth.base.size == size
        assert not growth.reaches(size - 1) and growth.reaches(0)
        assert growth.proof(0) == []


def test_a_witness_that_saw_nothing_needs_nothing_read(lived) -> None:
    index = lived[0].index()
    growth = growth_from(index, 0)
    assert (growth.size, growth.proof(0)) == (index.head.tree.size, [])


def test_what_is_missing_is_said_and_not_passed_over() -> None:
    world = World()
    for _ in range(6):
        world.write(3)
        world.ship()
    index = world.index()
    (third,) = [s.key for s in world.store.list("checkpoints/000000000003/") if s.key.endswith("note")]
    world.store.remove(third)
    growth = Growth(growth_from(index, heads(world)[0][0]).head)
    with pytest.raises(ArchiveGap):
        read_on(growth, index)
    with pytest.raises(ArchiveGap):
        open_archive(world.store, whole=True)
