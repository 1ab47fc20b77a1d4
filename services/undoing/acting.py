"""Carrying an undo out: looking, planning, and appending what was planned, one event after another.

Each event is decided on the one before it: whoever else writes to the patient meanwhile stops the undo, and the same
command plans anew what is left. So it can be killed between any two events and run again, by any number of people at
once: the commands' keys derive from the patient, the target and where the stream stood, and the plan from what the
record holds, so what was done is not planned again, and one plan is carried out once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from events.client import Decide, Draft
from events.envelope import Event, EventId, derive_id
from events.errors import Conflict, Refused, WrongUsage
from events.patient_keys import ERASED
from events.rules import Head
from events.sealing import PATIENT, PATIENT_ERASED
from projections.asof import applied_at
from projections.store import Tables
from replicator.targets import Target
from services.patients import one_patient, refuse_restricted
from services.projecting import catch_up, catch_up_whole
from services.system import System
from services.times import resolve_target_for_reading
from services.undoing.compensating import Step, with_real_ids
from services.undoing.planning import Plan, plan_undo
from services.writing import MICROS, client_on


@dataclass(frozen=True)
class Request:
    """What the operator asked for."""

    patient: str
    target: Target
    actor: Mapping[str, str]
    """Who undoes."""
    reason: str
    of_actor: str | None = None
    """Only what this actor did since the target; None: whatever was done."""


@dataclass(frozen=True)
class Undoing:
    """A plan, and what it was made for."""

    request: Request
    plan: Plan
    correlation_id: bytes
    """Of every event of this undo, of a later run of the same command too."""


def prepare(system: System, request: Request) -> Undoing:
    """Looks, and plans; changes nothing but that the tables follow the log.

    Raises Refused for a patient who is unknown, erased or restricted, and a target at which they had no record yet; as
    `resolve_target_for_reading`; WrongUsage for the newest state, of which nothing can be undone.
    """
    if request.target.latest:
        raise WrongUsage("the newest state is what stands", "name a moment before the error: --to TIME")
    with closing(system.log()) as log, closing(system.tables()) as tables:
        catch_up_whole(system.log_opener(), log, tables)
        stream = _patient(system, tables, request.patient)
        moment = resolve_target_for_reading(system, log, tables, request.target)
        with tables.reading():
            then = list(applied_at(tables, stream, moment.position, moment.control))
            now = list(applied_at(tables, stream))
    _refuse_beginning(then, now)
    goal = f"{moment.position} {request.of_actor or ''}"
    wanted = then if request.of_actor is None else without(request.of_actor, then, now)
    plan = plan_undo(stream, wanted, now, request.reason, goal)
    return Undoing(request, plan, derive_id("undo", stream, goal))


def _patient(system: System, tables: Tables, text: str) -> str:
    stream = one_patient(tables, text)
    if not stream.startswith(PATIENT):
        raise Refused("only what was done to a patient's record is undone like this", "name a patient")
    with closing(system.patient_keys()) as keys:
        if stream in keys.marks(ERASED):
            raise Refused("this patient was erased", "nothing brings an erased patient back")
        refuse_restricted(keys, stream)
    return stream


def _refuse_beginning(then: Sequence[Event], now: Sequence[Event]) -> None:
    if any(event.payload[0] == PATIENT_ERASED for event in now):
        raise Refused("this patient was erased", "nothing brings an erased patient back")
    if not then:
        raise Refused(
            "this patient had no record yet at that moment",
            "'rekam history PATIENT' shows when it begins; --after EVENT keeps the first of its events",
        )


def without(actor: str, then: Sequence[Event], now: Sequence[Event]) -> list[Event]:
    """The history that stands without what an actor did since `then`."""
    kept = {event.event_id for event in then}
    return [event for event in now if event.event_id in kept or event.actor["id"] != actor]


class Done(NamedTuple):
    """What was appended."""

    events: int
    again: int
    """Of them, by another run of the same plan."""


def act(system: System, undoing: Undoing, tell: Callable[[int, int], object]) -> Done:
    """Appends what was planned. `tell`: (done, of how many).

    Raises Conflict where somebody else wrote to the patient's record meanwhile, Erased, LogUnavailable: what was
    appended till then stands, and the same command goes on (but for the erased).
    """
    steps = undoing.plan.steps
    with closing(system.log()) as log, closing(system.tables()) as tables:
        client = client_on(system, log, tables)
        real: dict[EventId, EventId] = {}
        head, again = undoing.plan.head, 0
        for count, step in enumerate(steps, 1):
            decide = _decide(undoing, step, real, head, system.clock() * MICROS)
            written = client.append(undoing.plan.stream, decide, key=step.planned_id, reapply=True)
            head = Head(written.event.version, written.event.event_id)
            real[step.planned_id] = written.event.event_id
            again += written.again
            tell(count, len(steps))
        catch_up(log, tables)
    return Done(len(steps), again)


def _decide(
    undoing: Undoing, step: Step, real: Mapping[EventId, EventId], expected: Head, now: int
) -> Decide:
    payload = with_real_ids(step, real)
    cause = step.cause and real.get(step.cause, step.cause)
    at = now if step.occurred_at is None else step.occurred_at
    draft = Draft(payload, at, undoing.request.actor, undoing.correlation_id, cause)

    def decide(head: Head) -> Draft:
        if head != expected:
            raise Conflict(
                "somebody wrote to this patient's record after the plan was made",
                "what was appended stands; look at --dry-run again, and go on with the same command",
                current=head.version,
            )
        return draft

    return decide
