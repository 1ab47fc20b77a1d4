"""Attacks on targets that are events, on three partitions: recovered to twice, set aside and taken back."""

from __future__ import annotations

import random
from contextlib import closing

import pytest

from events.codec import decode_event, encode_event
from events.errors import Refused
from events.position import EVENTS
from replicator.targets import Target
from services.recovery.acting import Request, prepare
from services.recovery.locating import locate
from services.recovery.looking import look
from services.replicating import ship
from tests.attacked import ACTOR, Clinic


def events(clinic):
    """(partition, offset, id) of what stands on the log."""
    for partition, stop in clinic.log.end().of(EVENTS).items():
        for batch in clinic.log.read(partition, 0, stop):
            for record in batch:
                yield partition, record.offset, decode_event(record.value).event_id


def go(clinic, event_id, inclusive):
    request = Request(Target(event=event_id, inclusive=inclusive), ACTOR, "test")
    view, plan = prepare(clinic.system, request, str, ship_first=True)
    clinic.carry_out(request, view, plan)
    return plan


@pytest.mark.parametrize("seed", range(3))
def test_each_event_is_a_target_again_and_again_whatever_came_between(tmp_path, seed):
    clinic, rnd = Clinic(tmp_path, seed), random.Random(seed)
    for _ in range(3):
        clinic.tell(rnd.randint(1, 6))
        clinic.now += rnd.choice((0, 1, 50))
        if rnd.random() < 0.5:
            ship(clinic.system, clinic.log)
    chosen = rnd.sample(list(events(clinic)), 3)
    seen = {}
    for partition, offset, event_id in (*chosen, *reversed(chosen)):
        inclusive = rnd.random() < 0.5
        plan = go(clinic, event_id, inclusive)
        assert plan.position[partition] == offset + inclusive
        digest = clinic.digest()
        assert seen.setdefault((event_id, inclusive), digest) == digest, (
            "the same moment whenever it is asked for"
        )
        again = go(clinic, event_id, inclusive)
        assert not again.rewind and again.position == plan.position and clinic.digest() == digest
        clinic.agrees_with_a_rebuild()
        clinic.now += rnd.choice((0, 1, 50))
        clinic.tell(rnd.randint(0, 3))


def test_a_copy_under_another_key_is_no_record_of_the_event(tmp_path):
    """Readers list it as unreadable; where the tables are lost too, the event is still the one that counts."""
    clinic = Clinic(tmp_path)
    clinic.tell(5)
    stream = clinic.streams[0]
    event = clinic.event(
        stream, len(clinic.applied().get(stream, ())) + 1, None, clinic.epoch(), clinic.payload()
    )
    for key in ("somebody-else", stream):
        clinic.send(EVENTS, key, encode_event(event))
    ship(clinic.system, clinic.log)
    with closing(look(clinic.system, clinic.log)) as view:
        found = locate(clinic.system, view, event.event_id)
        assert found is not None
        [[record]] = clinic.log.read(found.partition, found.offset, found.offset + 1)
    assert record.key == stream.encode()


def test_an_event_of_who_slept_through_a_rewind_is_no_target(tmp_path):
    """Going there would set aside all that was written since the rewind, and the plan counted none of it."""
    clinic = Clinic(tmp_path)
    clinic.tell(6)
    time, _ = clinic.moment()
    stream, epoch = clinic.streams[0], clinic.epoch()
    ids = clinic.applied().get(stream, [])
    late = clinic.event(stream, len(ids) + 1, ids[-1] if ids else None, epoch, clinic.payload())
    clinic.tell(4)
    clinic.recover(time)
    clinic.now += 100
    clinic.tell(2)
    clinic.now += 1000
    clinic.send(EVENTS, stream, encode_event(late))
    with pytest.raises(Refused, match="never took effect"):
        go(clinic, late.event_id, True)
