"""What each rewind set aside, on the model's histories and on wilder ones: in effect just before it, not just after."""

from __future__ import annotations

import pytest

from projections.set_aside import spans
from tests import histories, model

SEEDS = [*range(0, 96, 12)]
BLOCK = 12


def in_effect(log, length):
    """(partition, offset) of what is in effect with that much of control."""
    links = model.chain(log, {**log.end(), model.CONTROL: length})
    return {(p, n) for p, n, _ in model.in_effect(log, links)}


def foreign(log, p, n):
    return not isinstance(log.records[p][n][1], model.Event)


@pytest.mark.parametrize("first_seed", SEEDS)
def test_a_rewind_set_aside_what_was_in_effect_before_it_and_not_after_it(first_seed):
    told = 0
    for seed in range(first_seed, first_seed + BLOCK):
        for log in (*histories.model_history(seed), histories.wild_history(seed)):
            end, control = histories.position(log.end()), histories.rewinds(log)
            for offset, _ in control:
                gone = in_effect(log, offset) - in_effect(log, offset + 1)
                found = {
                    (span.partition.number, n)
                    for span in spans(control, offset, end)
                    for n in range(span.start, span.stop)
                    if not foreign(log, span.partition.number, n)
                    and histories.epoch_id(log.records[span.partition.number][n][1].epoch) == span.epoch
                }
                assert found == gone, f"seed {seed}, rewind at {offset}"
                told += bool(gone)
    assert told > 20
