"""Random histories of the model (tests/model.py), and the same histories in the product's own shapes.

Two kinds. `model_history`: what the model's own check does to a log, with writers that retry, pipeline, sleep and do
not belong, rewinds, torn targets, lost logs and skewed clocks. `wild_history`: records that obey no discipline at all
(broken writers and operators), for rules that must hold whatever stands on the log; only one thing is impossible in
it, as it is in the world: to name a rewind before it stands on the log, its epoch being random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import cache

from events.effective import ListedMarks, Mark
from events.envelope import Epoch, Event
from events.position import CONTROL_PARTITION, EVENTS, Partition, Position
from events.rules import Rewind
from tests import model


def model_history(seed: int) -> Iterator[model.Log]:
    """The log of the model's check at some moments of its life, its end last; copies, which the caller may change."""
    yield from map(copied, _moments(seed))


@cache
def _moments(seed: int) -> list[model.Log]:
    """Kept, since the check of one seed takes longer than what most tests do with its history."""
    rnd, made, copies = random.Random(seed ^ 0xC0FFEE), [], []

    class Watched(model.Log):
        def __post_init__(self):
            super().__post_init__()
            made.append(self)

        def append(self, partition, time, value):
            super().append(partition, time, value)
            if self is made[0] and rnd.random() < 0.04:
                copies.append(copied(self))

    plain, model.Log = model.Log, Watched
    try:
        model.check(seed)
    finally:
        model.Log = plain
    return [*copies, copied(made[0])]


def copied(log: model.Log) -> model.Log:
    return model.Log(log.partitions, {p: list(r) for p, r in log.records.items()}, list(log.checkpoints))


def wild_history(seed: int) -> model.Log:
    rnd, now, serial = random.Random(seed), 0, 0
    log = model.Log(rnd.randint(1, 3))
    skew = {p: rnd.choice((0, 0, -40, 40)) for p in log.records}
    epochs, beat, data_ends = [""], None, None
    for _ in range(rnd.randint(5, 80)):
        now += rnd.choice((0, 1, 10))
        act, p = rnd.random(), rnd.randrange(log.partitions)
        at = now + rnd.choice((0, 0, 0, -25, 25, 400)) + skew[p]
        if act < 0.6:
            serial += 1
            log.append(p, at, wild_event(rnd, log, p, serial, epochs))
        elif act < 0.75:
            ends = {q: rnd.randint(0, n + rnd.choice((0, 0, 2))) for q, n in log.end().items()}
            epoch = rnd.choice((f"{rnd.getrandbits(64):x}",) * 5 + tuple(epochs[-2:][1:]))
            after = rnd.choice((log.epoch(), log.epoch(), rnd.choice(epochs)))
            log.append(model.CONTROL, at, model.Rewind(epoch, tuple(ends.items()), after))
            epochs.append(epoch)
        elif act < 0.8:
            log.append(rnd.choice((p, model.CONTROL)), at, "foreign bytes")
        elif data_ends is None:  # a shipper: heartbeat, then the data's ends, then (later) control's
            log.append(model.CONTROL, at, "heartbeat")
            beat, data_ends = at, log.end()
        else:
            torn = {**data_ends, model.CONTROL: log.end()[model.CONTROL]}
            earlier = max((t + 1 for t, _ in log.checkpoints), default=beat)
            log.checkpoints.append((max(beat, earlier), torn))
            data_ends = None
    return log


def wild_event(rnd: random.Random, log: model.Log, p: int, serial: int, epochs: list[str]) -> model.Event:
    """Of the partition's only stream or its other one, near the version that could apply, sometimes sent again."""
    earlier = [v for _, v in log.records[p] if isinstance(v, model.Event)]
    if earlier and rnd.random() < 0.2:
        return rnd.choice(earlier)
    stream = f"s{p}{rnd.choice('ab')}"
    seen = model.state_at(log, log.end()).get(stream, ())
    version = max(1, len(seen) + rnd.choice((1, 1, 1, 1, 0, 2, -1)))
    epoch = rnd.choice((log.epoch(), log.epoch(), log.epoch(), rnd.choice(epochs), "nobody's"))
    previous = rnd.choice((seen[-1] if seen else None,) * 6 + (None, "x", *seen))
    return model.Event(f"e{serial}", stream, version, previous, epoch)


# The same in the product's shapes


def partition(p: int | str) -> Partition:
    return CONTROL_PARTITION if p == model.CONTROL else Partition(EVENTS, int(p))


def position(offsets: Mapping) -> Position:
    return Position({partition(p): n for p, n in offsets.items()})


def epoch_id(epoch: str) -> Epoch | None:
    return epoch.encode() or None


def rewinds(log: model.Log) -> list[tuple[int, Rewind]]:
    return [
        (offset, Rewind(v.epoch.encode(), epoch_id(v.after), position(dict(v.target))))
        for offset, (_, v) in enumerate(log.records[model.CONTROL])
        if isinstance(v, model.Rewind)
    ]


def event(e: model.Event) -> Event:
    previous = e.previous.encode() if e.previous is not None else None
    return Event(
        e.event_id.encode(), epoch_id(e.epoch), e.stream, e.version, previous, 0, 0, {}, None, None, ("", {})
    )


def marks(log: model.Log) -> ListedMarks:
    return ListedMarks([Mark(time, position(held)) for time, held in log.checkpoints])


class ModelIndex:
    """A time index over a model's log, which keeps the port's promises by looking at every record."""

    def __init__(self, log: model.Log, end: Position) -> None:
        self._records = {partition(p): records for p, records in log.records.items()}
        self._end = end

    def end(self) -> Position:
        return self._end

    def first_later(self, at: Partition, start: int, stop: int, time: int) -> int | None:
        assert start >= 0 and stop <= self._end[at], "asked beyond what can be looked up"
        return next((n for n in range(start, stop) if self._records[at][n][0] > time), None)

    def first_naming(self, at: Partition, start: int, stop: int, epochs: frozenset[Epoch]) -> int | None:
        assert start >= 0 and stop <= self._end[at], "asked beyond what can be looked up"
        values = [v for _, v in self._records[at]]
        return next(
            (
                n
                for n in range(start, stop)
                if isinstance(values[n], model.Event) and epoch_id(values[n].epoch) in epochs
            ),
            None,
        )

    def rewinds(self) -> Mapping[Epoch, int]:
        first: dict[Epoch, int] = {}
        for offset, (_, v) in enumerate(self._records[CONTROL_PARTITION][: self._end.control]):
            if isinstance(v, model.Rewind):
                first.setdefault(v.epoch.encode(), offset)
        return first
