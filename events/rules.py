"""The epoch rule and the version rule: the only place that decides which events took effect.

Kafka has no compare-and-append, so writers append without asking and every reader judges what it reads, in
log order, with the two rules here. They are pure: the same prefix of the log gives the same verdicts to a
projection, an auditor, a recovery and a service that reads its own event back.

Epoch rule. The rewinds of a control prefix form a chain of (epoch, stop). A rewind takes effect if it names the
newest epoch before it (of two at once, the later has none), its own epoch is new, and its target's control part
does not exceed its own offset. Each link's stop is the position that the next rewind of the chain goes back to,
never beyond any later stop. An event is in effect where its epoch is in the chain and it stands before that
epoch's stop.

Version rule. An event in effect applies if `version == current + 1` and `previous` is the last event applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias

from events.envelope import Epoch, EventId
from events.position import EVENTS, Partition, Position


class Verdict(StrEnum):
    """What a reader makes of one event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    """That very event applied before, at the same version."""
    CONFLICT = "conflict"
    """Decided on a state of the stream that was no longer its last."""
    AHEAD = "ahead"
    """Its version is higher than the next: an event before it is missing."""
    SET_ASIDE = "set-aside"
    """A rewind went back to before it."""
    UNKNOWN_EPOCH = "unknown-epoch"
    """No rewind bears its epoch: a control record is missing, or a writer is broken. Status turns red."""


class Rewind(NamedTuple):
    """A rewind as the rules see it."""

    epoch: Epoch
    after: Epoch | None
    """The epoch it was decided in."""
    target: Position


class Link(NamedTuple):
    """One link of the chain: events of `epoch` before `stop` are in effect."""

    epoch: Epoch | None
    stop: Position


def valid_rewinds(control: Iterable[tuple[int, Rewind]]) -> list[tuple[int, Rewind]]:
    """Those of a control prefix, given as (offset, rewind) in offset order, that take effect."""
    valid: list[tuple[int, Rewind]] = []
    seen: set[Epoch] = set()
    newest: Epoch | None = None
    for offset, rewind in control:
        if rewind.after == newest and rewind.epoch not in seen and rewind.target.control <= offset:
            newest = rewind.epoch
            seen.add(newest)
            valid.append((offset, rewind))
    return valid


def chain(valid: Sequence[tuple[int, Rewind]], position: Position) -> list[Link]:
    """The links in effect at `position`, oldest first. `valid` may hold rewinds beyond the position."""
    links: list[Link] = []
    here = bound = position
    for offset, rewind in reversed(valid):
        if offset < here.control:
            links.append(Link(rewind.epoch, bound))
            here = rewind.target
            bound = here.clamped(bound)
    links.append(Link(None, bound))
    links.reverse()
    return links


Outside: TypeAlias = Callable[[Epoch | None, int], Verdict | None]
"""(epoch, offset) -> None where an event is in effect, else why it is not."""


class Effect:
    """The epoch rule at one position, ready to be asked many times."""

    __slots__ = ("known", "links", "position", "stops")

    def __init__(self, control: Iterable[tuple[int, Rewind]], position: Position) -> None:
        valid = [(o, r) for o, r in valid_rewinds(control) if o < position.control]
        self.position = position
        self.links = chain(valid, position)
        self.stops: Mapping[Epoch | None, Position] = dict(self.links)
        self.known: frozenset[Epoch | None] = frozenset([None, *(r.epoch for _, r in valid)])

    @property
    def newest(self) -> Epoch | None:
        """The epoch that a writer who has seen this position writes in."""
        return self.links[-1].epoch

    def judge(self, epoch: Epoch | None, partition: Partition, offset: int) -> Verdict | None:
        """None where the event is in effect and the version rule decides; else why it has none."""
        stop = self.stops.get(epoch)
        return None if stop is not None and offset < stop[partition] else self._why_not(epoch)

    def within(self, partition: Partition) -> Outside:
        """`judge` in one partition, made once for all the events of a replay."""
        stop_of = {epoch: stop[partition] for epoch, stop in self.stops.items()}.get
        why_not = self._why_not

        def judge(epoch: Epoch | None, offset: int) -> Verdict | None:
            return None if offset < stop_of(epoch, 0) else why_not(epoch)

        return judge

    def _why_not(self, epoch: Epoch | None) -> Verdict:
        return Verdict.SET_ASIDE if epoch in self.known else Verdict.UNKNOWN_EPOCH


class Head(NamedTuple):
    """Where a stream stands: its version (0 before its first event) and its last applied event."""

    version: int
    last: EventId | None


EMPTY = Head(0, None)


class Versioned(Protocol):
    """What the version rule looks at: an event, or as much of one."""

    @property
    def version(self) -> int: ...

    @property
    def previous(self) -> EventId | None: ...


def applies(head: Head, version: int, previous: EventId | None) -> bool:
    """The version rule for an event in effect."""
    return version == head[0] + 1 and previous == head[1]  # by place: asked for every event of a replay


def judge_version(head: Head, event: Versioned, applied_before: bool) -> Verdict:
    """The version rule, and why not. `applied_before`: whether this very id was applied at `event.version` (asked only
    where version <= current; pass False where it cannot matter)."""
    if applies(head, event.version, event.previous):
        return Verdict.APPLIED
    if event.version > head.version + 1:
        return Verdict.AHEAD
    return Verdict.DUPLICATE if applied_before else Verdict.CONFLICT


def usable(snapshot: Sequence[Link], target: Sequence[Link]) -> bool:
    """Whether tables that stand at `snapshot`'s links become the `target` by folding a tail of events only.

    The snapshot's position must hold every rewind that its events name, as a projector's cursor does: the tail begins
    at its stop, and would pass over events that took effect by a rewind it had not seen.
    """
    *older, (epoch, stop) = snapshot
    n = len(older)
    return (
        n < len(target)
        and older == list(target[:n])
        and target[n].epoch == epoch
        and all(stop[p] <= target[n].stop[p] for p in stop if p.topic == EVENTS)
    )
