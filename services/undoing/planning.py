"""Planning an undo: which events to append so that a patient's record reads as it did. Pure.

The stream's rows as they are wanted are compared with those that stand, slot by slot (state.py):

- what was there and reads otherwise now: the event that filled it then is said once more, as a new event;
- what was not there: it is marked as entered in error, by its family's own event;
- what no event can take back (a submitted claim, a payer's decision, a registration) stays, and the plan says so.

An event may fill two slots (an import's record, and what is known of its resource). So with a slot come all that its
event fills, and they are said in their old order: the last to fill each is the one that did so then. Each step is
folded onto the rows as soon as it is planned, and what differs in the end is what stays: nothing is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from events.envelope import Event, EventId, derive_id
from events.rules import EMPTY, Head
from projections.record_tables import ADJUDICATIONS, CLAIMS, NOTES
from projections.rows import Key
from projections.tables import MERGES, PATIENTS, RESOURCES
from services.undoing import compensating
from services.undoing.compensating import NOTE_AMENDED, Step
from services.undoing.state import (
    DECISION,
    KIND_OF,
    LISTS,
    RECORDS,
    SETTLED,
    Fields,
    Slot,
    State,
    filled_alike,
    filled_by,
    is_void,
    touched,
)
from services.undoing.staying import Stays, number_stays, what_stays


class Change(NamedTuple):
    """Something of the record that goes back."""

    kind: str
    """`observation`, `registration`, `contacts`, `merge`, …"""
    record_id: str | None
    then: Fields | None
    """Its row as it is wanted; None: it was not there."""
    now: Fields | None
    """Its row as it stands; None: it is not there."""
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """What to append, in order, on a stream that stands at `head`."""

    stream: str
    head: Head
    changes: tuple[Change, ...]
    stays: tuple[Stays, ...]

    @property
    def steps(self) -> list[Step]:
        return [step for change in self.changes for step in change.steps]


def plan_undo(
    stream: str, wanted: Sequence[Event], now: Sequence[Event], reason: str, goal: str = ""
) -> Plan:
    """`wanted`: applied events that fold to the record as it is to read; `now`: those that it reads as.

    Both opened and in order. `goal` names the target: with the stream and where it stands it makes the keys of what
    is appended, so that one plan is carried out once, by however many.
    """
    head = Head(now[-1].version, now[-1].event_id) if now else EMPTY
    work = _Work(stream, wanted, now, reason, goal, head)
    work.fill_again()
    work.void_again()
    work.change_lists()
    work.merge()
    work.finalise()
    work.void_new()
    stays = [*what_stays(work.then, work.at), *number_stays(work.then, work.now)]
    return Plan(stream, head, tuple(work.changes), tuple(stays))


class _Work:
    """A plan in the making: `then` as wanted, `now` as it stands, `at` as it will be after the steps so far."""

    def __init__(
        self, stream: str, wanted: Sequence[Event], now: Sequence[Event], reason: str, goal: str, head: Head
    ) -> None:
        self.then, self.now, self.at = State(stream, wanted), State(stream, now), State(stream, now)
        self._wanted = {event.event_id: (order, event) for order, event in enumerate(wanted)}
        self._reason = reason
        self._head, self._goal = head, goal
        self._count = 0
        self.changes: list[Change] = []

    def _planned(self, step: Step) -> Step:
        """The step with its id to be, folded."""
        stream, (version, last), number = self.at.stream, self._head, self._count + 1
        planned = step._replace(planned_id=derive_id("undo", stream, self._goal, last, str(number)))
        at, cause = step.occurred_at or 0, step.cause
        self.at.fold(
            Event(
                planned.planned_id, None, stream, version + number, None, at, 0, {}, None, cause, step.payload
            )
        )
        self._count = number
        return planned

    def _change(
        self,
        kind: str,
        record_id: str | None,
        then: Fields | None,
        now: Fields | None,
        steps: Iterator[Step],
    ) -> None:
        """Steps are drawn one by one: each is decided on the rows as the one before leaves them."""
        self.changes.append(Change(kind, record_id, then, now, tuple(map(self._planned, steps))))

    # ---- what was there

    def fill_again(self) -> None:
        """Everything that reads otherwise than then, and what comes with it, in its old order."""
        fillers = self.then.fillers()
        needed: set[EventId] = set()
        slots = [slot for slot in fillers if not filled_alike(slot, self.then, self.now)]
        while slots:
            event_id = fillers[slots.pop()]
            if event_id in needed:
                continue
            needed.add(event_id)
            slots += [slot for slot in touched(self._event(event_id)) if slot in fillers]
        for event in sorted(map(self._event, needed), key=lambda event: self._wanted[event.event_id][0]):
            mine = [slot for slot in touched(event) if fillers.get(slot) == event.event_id]
            self._say_again(event, mine)

    def _event(self, event_id: EventId) -> Event:
        return self._wanted[event_id][1]

    def _say_again(self, event: Event, mine: list[Slot]) -> None:
        """`mine`: the slots that this event filled last."""
        tables = dict(mine)
        record = next((slot for slot in mine if slot[0] in KIND_OF), None)
        if PATIENTS.name in tables:
            then, now = self.then.patient, self.now.patient
            self._change("registration", None, then, now, self._registration(event))
        elif record is not None:
            table = RECORDS[KIND_OF[record[0]]]
            then, now = self.then.row(table, record[1]), self.now.row(table, record[1])
            self._change(KIND_OF[record[0]], record[1][0], then, now, self._record(event, record))
        else:
            table = CLAIMS if DECISION in tables else RESOURCES
            key = next(key for name, key in mine if name in (DECISION, RESOURCES.name))
            kind = "claim" if table is CLAIMS else "import"
            then, now = self.then.row(table, key), self.now.row(table, key)
            self._change(kind, key[-1], then, now, self._other(event, table, key))

    def _registration(self, event: Event) -> Iterator[Step]:
        lists = {name: self.then.items(table) for name, table in LISTS.items()}
        yield compensating.again(event, filled_by(self.at.patient), self._reason, **lists)

    def _record(self, event: Event, slot: Slot) -> Iterator[Step]:
        name, key = slot
        kind = KIND_OF[name]
        table = RECORDS[kind]
        was, now = self.then.row(table, key), self.at.row(table, key)
        assert was is not None, "an event filled it"
        if event.payload[0] == NOTE_AMENDED and table is NOTES:
            yield from compensating.note_again(event, was, now, self._reason)
        else:
            yield compensating.again(event, filled_by(now), self._reason)
        if was["voided_by"] is not None:
            yield self._void(kind, key[0])

    def _other(self, event: Event, table: sa.Table, key: Key) -> Iterator[Step]:
        """A claim's decision, or what is known of a resource, where the record itself comes from another event."""
        column = "adjudicated_by" if table is CLAIMS else "event_id"
        corrects = filled_by(self.at.row(table, key), column)
        yield compensating.again(event, corrects, self._reason)

    def _void(self, kind: str, record_id: str) -> Step:
        row = self.at.row(RECORDS[kind], (record_id,))
        assert row is not None, "only what stands is marked"
        return compensating.void(kind, row, self._reason)

    def void_again(self) -> None:
        """Records that say what they did, and were void then."""
        for kind, table in RECORDS.items():
            for key, was in self.then.rows(table):
                at = self.at.row(table, key)
                if was["voided_by"] is not None and at is not None and not is_void(at):
                    self._change(kind, key[0], was, at, iter([self._void(kind, key[0])]))

    # ---- the patient's own

    def change_lists(self) -> None:
        makers: dict[str, Callable[[list[Fields], str], Step]] = {
            "contacts": compensating.contacts_changed,
            "coverages": compensating.coverages_changed,
        }
        if self.then.patient is None or self.at.patient is None:
            return
        for name, make in makers.items():
            then, at = self.then.items(LISTS[name]), self.at.items(LISTS[name])
            if then != at:
                said, stood = {name: then}, {name: at}
                self._change(name, None, said, stood, iter([make(then, self._reason)]))

    def merge(self) -> None:
        """Where the record goes on. Merges that did not stand are undone, each by name."""
        known = {key for key, _ in self.then.rows(MERGES)}
        for key, row in list(self.at.rows(MERGES)):
            current = self.at.survivor == self.then.survivor and self._merged_by() == key[0]
            if row["undone_by"] is None and key not in known and not current:
                self._unmerge(row["survivor"], key[0])
        then, at = self.then.patient, self.at.survivor
        if then is None or then["survivor"] == at:
            return
        if at is not None:
            self._unmerge(at, self._merged_by())
        if then["survivor"] is not None:
            merged = self._event(then["merged_by"])
            said = {"survivor": then["survivor"]}
            self._change("merge", None, said, None, iter([compensating.again(merged, None, self._reason)]))

    def _merged_by(self) -> EventId:
        patient = self.at.patient
        found: EventId = b"" if patient is None else patient["merged_by"]
        return found

    def _unmerge(self, survivor: str, merge: EventId) -> None:
        step = compensating.unmerge(survivor, merge, self._reason)
        self._change("merge", None, None, {"survivor": survivor}, iter([step]))

    # ---- what a claim came to

    def finalise(self) -> None:
        for key, was in self.then.rows(CLAIMS):
            at = self.at.row(CLAIMS, key)
            settled = was["finalised_by"] is not None
            if at is None or (settled, was[SETTLED]) == (at["finalised_by"] is not None, at[SETTLED]):
                continue
            if settled:
                step = compensating.again(self._event(was["finalised_by"]), None, self._reason)
            else:
                step = compensating.unfinalise(key[0], at["finalised_by"], self._reason)
            self._change("claim", key[0], was, self.now.row(CLAIMS, key), iter([step]))

    # ---- what was not there

    def void_new(self) -> None:
        """Newest first, as it is undone by hand: what rests on something goes before it."""
        new = [
            (row["version"], kind, key[0], row)
            for kind, table in RECORDS.items()
            if table is not ADJUDICATIONS
            for key, row in self.at.rows(table)
            if self.then.row(table, key) is None and not is_void(row)
        ]
        for _, kind, record_id, row in sorted(new, key=lambda found: found[:3], reverse=True):
            self._change(kind, record_id, None, row, iter([self._void(kind, record_id)]))
