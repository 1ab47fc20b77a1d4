"""The rules and effective time against the executable model of the laws, on its histories and on wilder ones."""

from __future__ import annotations

import random

import pytest

from events.effective import cut
from events.position import CONTROL
from events.rules import (
    EMPTY,
    Effect,
    Head,
    Verdict,
    chain,
    judge_version,
    usable,
    valid_rewinds,
)
from tests import histories, model

SEEDS = [*range(0, 96, 12)]
BLOCK = 12


def logs(first_seed):
    """Many short histories in one test: (seed, log, random numbers for what is asked of it)."""
    for seed in range(first_seed, first_seed + BLOCK):
        for log in (*histories.model_history(seed), histories.wild_history(seed)):
            yield seed, log, random.Random(seed)


def some_positions(log, rnd, count=12):
    """The end, and prefixes that are torn between partitions."""
    yield log.end()
    for _ in range(count):
        yield {p: rnd.randint(0, n) for p, n in log.end().items()}


def some_times(log, rnd, count=40):
    times = [t for records in log.records.values() for t, _ in records] + [t for t, _ in log.checkpoints]
    yield from (min(times, default=0) - 1, max(times, default=0) + 1)
    for _ in range(count):
        yield rnd.choice(times or [0]) + rnd.choice((-1, 0, 1))


def named(links):
    return [(histories.epoch_id(epoch), histories.position(stop)) for epoch, stop in links]


@pytest.mark.parametrize("first_seed", SEEDS)
def test_the_chain_is_the_models(first_seed):
    for seed, log, rnd in logs(first_seed):
        rewinds = histories.rewinds(log)
        for offsets in some_positions(log, rnd):
            position = histories.position(offsets)
            want = named(model.chain(log, offsets))
            assert chain(valid_rewinds(rewinds), position) == want, f"seed {seed} at {offsets}"
            known = [pair for pair in rewinds if pair[0] < position.control]
            assert Effect(known, position).links == want, (
                "what stands beyond a position does not matter to it"
            )
            assert Effect(rewinds, position).newest == want[-1][0]


def judged(log, position):
    """[(partition, offset, event, verdict)] as a reader judges a prefix, partition by partition; and the heads."""
    effect = Effect(histories.rewinds(log), histories.position(position))
    heads, applied, verdicts = {}, set(), []
    for p, records in log.records.items():
        if p == model.CONTROL:
            continue
        for offset, (_, value) in enumerate(records[: position[p]]):
            if not isinstance(value, model.Event):
                continue
            event, head = histories.event(value), heads.get(value.stream, EMPTY)
            verdict = effect.judge(event.epoch, histories.partition(p), offset)
            if verdict is None:
                verdict = judge_version(head, event, (event.stream, event.version, event.event_id) in applied)
            if verdict is Verdict.APPLIED:
                heads[event.stream] = Head(event.version, event.event_id)
                applied.add((event.stream, event.version, event.event_id))
            verdicts.append((p, offset, value, verdict))
    return verdicts, heads


def why(log, position, applied, p, offset, event):
    """The model's word on an event: the verdict in the design's own terms."""
    here = model.prefix(log, position)
    if (p, offset, event) not in set(model.in_effect(here, model.chain(here, position))):
        known = event.epoch == "" or event.epoch in here.rewinds(position[model.CONTROL])
        return Verdict.SET_ASIDE if known else Verdict.UNKNOWN_EPOCH
    current = len(applied)
    if event.version == current + 1 and event.previous == (applied[-1] if applied else None):
        return Verdict.APPLIED
    if event.version > current + 1:
        return Verdict.AHEAD
    return (
        Verdict.DUPLICATE
        if event.event_id in applied[event.version - 1 : event.version]
        else Verdict.CONFLICT
    )


@pytest.mark.parametrize("first_seed", SEEDS)
def test_every_verdict_is_the_models(first_seed):
    for seed, log, rnd in logs(first_seed):
        for position in some_positions(log, rnd, count=2):
            verdicts, heads = judged(log, position)
            state = model.state_at(log, position)
            want = {s: (len(a), a[-1].encode()) for s, a in state.items()}
            assert heads == want, f"seed {seed} at {position}"
            applied = {}
            for p, offset, event, verdict in verdicts:
                so_far = applied.get(event.stream, ())
                expected = why(log, position, so_far, p, offset, event)
                assert verdict == expected, f"seed {seed} at {position}: {p}/{offset} {event}"
                if verdict is Verdict.APPLIED:
                    applied[event.stream] = (*so_far, event.event_id)
            assert applied == state


@pytest.mark.parametrize("first_seed", SEEDS)
def test_the_position_of_a_moment_is_the_models(first_seed):
    for seed, log, rnd in logs(first_seed):
        index = histories.ModelIndex(log, histories.position(log.end()))
        for time in some_times(log, rnd):
            got = cut(time, histories.marks(log), index)
            assert got == histories.position(log.cut(time)), f"seed {seed} at {time}"


@pytest.mark.parametrize("first_seed", SEEDS)
def test_a_moment_that_the_archive_covers_is_the_same_without_the_log(first_seed):
    for seed, log, rnd in logs(first_seed):
        if not log.checkpoints:
            continue
        newest, held = log.checkpoints[-1]
        live = histories.ModelIndex(log, histories.position(log.end()))
        archive = histories.ModelIndex(log, histories.position(held))
        marks = histories.marks(log)
        for time in (t for t in some_times(log, rnd) if t < newest):
            assert cut(time, marks, archive) == cut(time, marks, live), f"seed {seed} at {time}"


@pytest.mark.parametrize("first_seed", SEEDS)
def test_a_complete_moment_stays_where_it_is_whatever_comes_later(first_seed):
    """Law 5: for T before a checkpoint's time, nothing that stands beyond that checkpoint moves its position."""
    for seed, log, rnd in logs(first_seed):
        for n, (newest, held) in enumerate(log.checkpoints, start=1):
            then = model.prefix(log, {p: min(h, len(log.records[p])) for p, h in held.items()})
            then.checkpoints = log.checkpoints[:n]
            index_then = histories.ModelIndex(then, histories.position(then.end()))
            index_now = histories.ModelIndex(log, histories.position(log.end()))
            for time in (t for t in some_times(log, rnd, count=6) if t < newest):
                before = cut(time, histories.marks(then), index_then)
                assert before == cut(time, histories.marks(log), index_now), f"seed {seed} at {time}"


def closed(log, position):
    """Whether control's part holds every rewind that the data's part names, as a cursor's always does."""
    missing = {
        v.epoch for _, v in log.records[model.CONTROL][position[model.CONTROL] :] if hasattr(v, "after")
    }
    missing -= set(log.rewinds(position[model.CONTROL]))
    return all(
        getattr(v, "epoch", "") not in missing
        for p, records in log.records.items()
        for _, v in records[: position[p]]
        if p != model.CONTROL
    )


@pytest.mark.parametrize("first_seed", SEEDS)
def test_usable_and_the_tail_are_the_models(first_seed):
    for seed, log, rnd in logs(first_seed):
        rewinds = histories.rewinds(log)
        positions = [*some_positions(log, rnd, count=5), *(log.cut(t) for t in some_times(log, rnd, count=3))]
        for snapshot in positions:
            for target in positions:
                ours = [Effect(rewinds, histories.position(at)).links for at in (snapshot, target)]
                theirs = [model.chain(log, at) for at in (snapshot, target)]
                assert usable(*ours) == model.usable(*theirs), f"seed {seed}"
                if usable(*ours) and closed(log, snapshot):
                    tail = model.tail(log, *theirs)
                    assert model.fold(tail, model.state_at(log, snapshot)) == model.state_at(log, target)


def test_the_histories_hold_what_they_are_for():
    """Each verdict, rewinds without effect, torn checkpoints, clocks that run back: all of it was tried above."""
    seen, refused, torn, back = set(), 0, 0, 0
    for first_seed in SEEDS[:4]:
        for _, log, _ in logs(first_seed):
            seen |= {verdict for *_, verdict in judged(log, log.end())[0]}
            refused += len(histories.rewinds(log)) - len(valid_rewinds(histories.rewinds(log)))
            times = [[t for t, _ in records] for records in log.records.values()]
            back += sum(t != sorted(t) for t in times)
            torn += any(histories.position(held).of(CONTROL) for _, held in log.checkpoints)
    assert seen == set(Verdict)
    assert min(refused, torn, back) > 15
