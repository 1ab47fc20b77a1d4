"""Going just before or just after an event, on the model's histories and on wilder ones.

The model has moments alone. Of an event it says when it counts as having happened, and whether it is in effect at a
position: that is what a target must keep to.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from functools import partial

import pytest

from events.effective import effective_time
from events.errors import Refused
from events.position import CONTROL_PARTITION
from replicator.targets import Located, Range, Target, resolve
from tests import histories, model

SEEDS = [*range(0, 96, 12)]
BLOCK = 12
EARLIEST, LATEST = -10_000, 100_000


def logs(first_seed):
    for seed in range(first_seed, first_seed + BLOCK):
        for log in (*histories.model_history(seed), histories.wild_history(seed)):
            yield seed, log, random.Random(seed)


def some_events(log, rnd, count=3):
    """(partition, offset, log time, event)"""
    events = [
        (p, offset, time, value)
        for p, records in log.records.items()
        for offset, (time, value) in enumerate(records)
        if isinstance(value, model.Event)
    ]
    return rnd.sample(events, min(count, len(events)))


def happened(log, p, offset):
    """By the model, whose cut is the only thing that tells times."""
    return EARLIEST + bisect_left(range(EARLIEST, LATEST), True, key=lambda time: log.cut(time)[p] > offset)


def in_effect(log, position, p, offset):
    return any((q, n) == (p, offset) for q, n, _ in model.in_effect(log, model.chain(log, position)))


def took_effect(log, p, offset, then):
    """Whether it was in effect before there was a rewind that set it aside."""
    lengths = range(log.end()[model.CONTROL] + 1)
    found = [in_effect(log, {**log.end(), model.CONTROL: n}, p, offset) for n in lengths]
    if True not in found:
        return False
    first = found.index(True)
    stop = found.index(False, first) if False in found[first:] else len(found)
    return log.cut(then - 1)[model.CONTROL] < stop


def point(log, located, inclusive):
    index = histories.ModelIndex(log, histories.position(log.end()))
    target = Target(event=b"e", inclusive=inclusive)
    span, marks, control = Range(EARLIEST, LATEST), histories.marks(log), histories.rewinds(log)
    return resolve(target, span, marks, index, LATEST, located=located, control=control)


def of_model(position):
    return {model.CONTROL if p == CONTROL_PARTITION else p.number: n for p, n in position.items()}


@pytest.mark.parametrize("first_seed", SEEDS)
def test_an_event_cuts_its_partition_exactly_and_the_others_by_its_time(first_seed):
    tried = 0
    for seed, log, rnd in logs(first_seed):
        marks = histories.marks(log)
        index = histories.ModelIndex(log, histories.position(log.end()))
        for p, offset, time, event in some_events(log, rnd):
            where = f"seed {seed}, {p}/{offset}"
            then = happened(log, p, offset)
            partition = histories.partition(p)
            assert effective_time(partition, offset, marks, index, time) == then, where

            at = partial(point, log, Located(partition, offset, histories.epoch_id(event.epoch), time))
            if not took_effect(log, p, offset, then):
                with pytest.raises(Refused, match="never took effect"):
                    at(True)
                continue
            after, before = of_model(at(True).position), of_model(at(False).position)
            tried += 1
            assert (after[p], before[p]) == (offset + 1, offset), where
            assert in_effect(log, after, p, offset), f"{where} is not in effect just after it"
            assert not in_effect(log, before, p, offset)
            assert (at(True).time, at(False).time) == (then, then - 1)
            assert after[model.CONTROL] == before[model.CONTROL]
            for other in set(log.end()) - {p, model.CONTROL}:
                assert after[other] == log.cut(then)[other], where
                assert before[other] == log.cut(then - 1)[other], where
    assert tried > 20
