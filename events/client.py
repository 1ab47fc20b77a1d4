"""Writing an event: look, decide, append, read back, judge.

Kafka has no compare-and-append, so a client finds out what became of its event as every reader does: it reads its own
event back, then control's end, and judges with both rules. Any number of clients may write to one log at once, from
any number of threads and machines: of several that decide on one version one takes effect, and the others decide anew.

A command takes effect at most once. Its event's id derives from its idempotency key and the epoch; before deciding,
the client looks for the key under every epoch there ever was. Since an event applies only if its stream still stands
where the client looked, nothing can have been missed. A key that is found only where a rewind set it aside is
`SetAside`: somebody went back to before the command, and only its sender can say whether it should be done again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from events.blobs import headers_of
from events.clock import Clock, wall_micros
from events.codec import decode_event
from events.envelope import ID_BYTES, Epoch, Event, EventId, Micros, Payload, derive_id
from events.errors import Conflict, LogRecreated, SetAside
from events.heads import Heads, Known, View
from events.log import Entry, EventLog, Placed
from events.position import EVENTS, Partition
from events.rules import Head, Verdict
from events.sealing import IN_THE_CLEAR, Encoder

TRIES = 12
"""How often a command decides anew before its sender hears of the conflict."""
_FIRST_WAIT_SECONDS = 0.005
_LONGEST_WAIT_SECONDS = 0.25
_TURNS = 64


class Draft(NamedTuple):
    """What a decision says; where it stands in its stream is the client's to know."""

    payload: Payload
    occurred_at: Micros
    """Clinical time."""
    actor: Mapping[str, str]
    """id, role, system."""
    correlation_id: bytes | None = None
    causation_id: bytes | None = None


Decide: TypeAlias = Callable[[Head], Draft]
"""Pure. Given where the stream stands, the event that the command makes; raises to refuse. May be called again."""


class Appended(NamedTuple):
    """A command that took effect."""

    event: Event
    partition: Partition
    offset: int
    time: int
    """The log's, in milliseconds since 1970 UTC."""
    again: bool
    """Whether it had taken effect before, by the same key."""


class _Lost(Exception):
    """Another writer was first: decide anew."""


@dataclass
class Client:
    """Writes to one log. Safe for concurrent threads; threads that write to one stream take turns."""

    log: EventLog
    heads: Heads
    clock: Clock = wall_micros
    random_bytes: Callable[[int], bytes] = os.urandom
    sleep: Callable[[float], None] = time.sleep
    tries: int = TRIES
    encoder: Encoder = IN_THE_CLEAR
    """How values are made: with patients' keys, they are sealed."""
    _turns: list[threading.Lock] = field(default_factory=lambda: [threading.Lock() for _ in range(_TURNS)])

    def append(
        self, stream: str, decide: Decide, *, key: str | bytes | None = None, reapply: bool = False
    ) -> Appended:
        """Appends the event that `decide` makes of the stream as it stands; it has taken effect on return.

        `key` is the command's own, chosen by its sender: the same again gives the earlier outcome. Without one every
        call is another command. `reapply`: a command that a rewind set aside is to be done again.

        Raises what `decide` raises; Conflict if others were first too often; SetAside; LogUnavailable if the outcome
        is not known (the same key again finds it); TooLarge, BadInput for what cannot be written.
        """
        command = self.random_bytes(ID_BYTES) if key is None else key
        retrying = Retrying(
            retry=retry_if_exception_type(_Lost),
            stop=stop_after_attempt(self.tries),
            wait=wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS),
            sleep=self.sleep,
            retry_error_callback=lambda state: self._give_up(stream, state),
        )
        with self._turns[hash(stream) % _TURNS]:
            return retrying(self._try, stream, decide, command, reapply)

    def _try(self, stream: str, decide: Decide, command: str | bytes, reapply: bool) -> Appended:
        view = self.heads.look(stream)
        earlier = self._earlier(stream, command, view, reapply)
        if earlier is not None:
            return earlier
        self.encoder.prepare([stream])
        event = self._event(stream, command, view, decide(view.head))
        entry = Entry(stream.encode(), self.encoder.encode(event), headers_of(event.payload))
        [placed] = self.log.append(EVENTS, [entry])
        return self._settle(event, placed, command, reapply)

    def _earlier(self, stream: str, command: str | bytes, view: View, reapply: bool) -> Appended | None:
        """The outcome that the command has had already. Raises SetAside where that was set aside."""
        set_aside: list[Epoch | None] = []
        for epoch in reversed(view.epochs):
            known = self.heads.find(stream, event_id(stream, command, epoch))
            if known is None:
                continue
            if known.verdict is Verdict.APPLIED:
                return self._outcome(known, event_id(stream, command, epoch))
            if known.verdict is Verdict.SET_ASIDE:
                set_aside.append(epoch)
        if set_aside and not reapply:
            raise self._was_set_aside(set_aside[0])
        return None

    def _event(self, stream: str, command: str | bytes, view: View, draft: Draft) -> Event:
        return Event(
            event_id(stream, command, view.epoch),
            view.epoch,
            stream,
            view.head.version + 1,
            view.head.last,
            draft.occurred_at,
            self.clock(),
            dict(draft.actor),
            draft.correlation_id,
            draft.causation_id,
            draft.payload,
        )

    def _settle(self, event: Event, placed: Placed, command: str | bytes, reapply: bool) -> Appended:
        """What became of an event that stands on the log. Raises _Lost where it has no effect."""
        partition, offset, time_ = placed
        verdict = self.heads.settle(event.stream, partition, offset, event.event_id)
        if verdict is Verdict.APPLIED:
            return Appended(event, partition, offset, time_, again=False)
        if verdict is Verdict.UNKNOWN_EPOCH:
            raise LogRecreated(
                "the rewind that this client has seen is no longer on the log",
                "start again on the recovered log",
            )
        if verdict is Verdict.SET_ASIDE and not reapply:
            raise self._was_set_aside(event.epoch)
        raise _Lost  # a duplicate is found by its key when we look again

    def _outcome(self, known: Known, wanted: EventId) -> Appended:
        """An event that applied, as the log holds it."""
        for batch in self.log.read(known.partition, known.offset, known.offset + 1):
            event = decode_event(batch[0].value or b"")
            if event.event_id == wanted:
                opened = self.encoder.reveal(event)
                return Appended(opened, known.partition, known.offset, batch[0].time, again=True)
        raise LogRecreated(
            f"{known.partition}: offset {known.offset} holds another event than it did", "recover the log"
        )

    def _was_set_aside(self, epoch: Epoch | None) -> SetAside:
        rewind = self.heads.set_aside_by(epoch)
        return SetAside(
            f"a recovery went back to before this command (rewind {rewind.hex() if rewind else 'unknown'})",
            "ask for it to be applied again, if it still should be",
            epoch=rewind,
        )

    def _give_up(self, stream: str, state: RetryCallState) -> Appended:
        current = self.heads.look(stream).head.version
        raise Conflict(
            f"others wrote to this stream first, {state.attempt_number} times; it stands at version {current}",
            "look again and decide anew",
            current=current,
        )


def event_id(stream: str, command: str | bytes, epoch: Epoch | None) -> EventId:
    """The id of the event that a command makes on a stream in an epoch."""
    return derive_id("event", stream, command, epoch)
