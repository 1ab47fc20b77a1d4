"""What goes back with a recovery, and whether less would do: undoing one patient, or what one actor did."""

from __future__ import annotations

from typing import NamedTuple

from events.codec import Unreadable, decode_events
from events.position import EVENTS
from events.rules import Effect
from events.sealing import PATIENT
from replicator.planning import RecoveryPlan
from services.recovery.looking import View

MOST_RECORDS = 20_000
"""Beyond so many nobody is told: a recovery would wait for the reading, and undoing less is hardly what is wanted."""


class GoesBack(NamedTuple):
    """The events in effect that a recovery sets aside, and whose they are."""

    events: int
    streams: int
    actors: int
    stream: str | None
    """The one stream that they are all of."""
    actor: str | None
    """The id of the one actor who did all of it."""


def goes_back(view: View, plan: RecoveryPlan) -> GoesBack | None:
    """Read from the log, whose envelopes stand in the clear; None where nothing goes back, or too much to tell."""
    if not plan.rewind or view.log is None or plan.set_aside_records > MOST_RECORDS:
        return None
    effect = Effect(view.situation.control, view.end)
    events, streams, actors = 0, set(), set()
    for partition, stop in view.end.of(EVENTS).items():
        for batch in view.log.read(partition, plan.position[partition], stop):
            for record, event in zip(batch, decode_events([r.value for r in batch]), strict=True):
                if isinstance(event, Unreadable) or effect.judge(event.epoch, partition, record.offset):
                    continue
                events += 1
                streams.add(event.stream)
                actors.add(event.actor["id"])
    return GoesBack(events, len(streams), len(actors), _only(streams), _only(actors))


def _only(found: set[str]) -> str | None:
    return next(iter(found)) if len(found) == 1 else None


def advice(found: GoesBack, target: str) -> str | None:
    """In words, where `rekam undo` would do. `target`: its option for the same moment."""
    if found.stream is not None and found.stream.startswith(PATIENT):
        return f"all of one patient: 'rekam undo {found.stream} {target}' does without a recovery"
    if found.actor is not None:
        return (
            f"all by {found.actor}: where it is of few patients, 'rekam undo PATIENT {target}"
            f" --actor {found.actor}' of each does without a recovery"
        )
    return None
