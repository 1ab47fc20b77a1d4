"""The rewinds on a log: which there are, what each set aside, and applying chosen events again.

Nothing is ever taken off the log, so what a recovery set aside is there to be looked at. An event that is applied again
is a new one behind the record as it stands now, which names the old one as its cause; the same again is once. Whoever
chooses it decides that it still holds: what was written of the same thing since is written over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from events.codec import Control, as_rewind, decode_control, decode_event
from events.control import rewinds_upto
from events.envelope import Epoch
from events.errors import Refused
from events.log import EventLog
from events.position import CONTROL_PARTITION, Position
from events.rules import Effect, Rewind, Verdict, chain, valid_rewinds
from projections.asof import history_at
from projections.continuity import known_rewinds
from projections.set_aside import count_in, rows_in, spans
from projections.store import JournalRow, Tables
from services.projecting import catch_up_whole
from services.reapplying import Chosen, Reapplied, reapplying
from services.system import System

NEVER = "it did not take effect before the rewind either"


@dataclass(frozen=True)
class Told:
    """One rewind, and what it says of itself."""

    number: int
    """From 1, of those that took effect, in the order of the log."""
    offset: int
    """On control."""
    rewind: Rewind
    kind: str
    """`recovery`, or `generation`: the log was lost and restored."""
    time: int
    """Its log time, milliseconds UTC."""
    back_to: int | None
    """The moment that it goes back to, milliseconds UTC; None: the newest state, of what was archived."""
    actor: Mapping[str, str]
    reason: str
    parent: Epoch | None
    """The epoch that it goes on from: in effect at its target."""
    set_aside: int
    """Events that it set aside."""
    current: bool
    """Whether its epoch is still in effect."""


class Aside(NamedTuple):
    """What was set aside of one stream."""

    stream: str
    events: int
    types: Mapping[str, int]
    first: int
    last: int
    """Log times, microseconds since 1970 UTC."""
    again: int
    """Of them, in effect again: a later recovery took it back."""


def rewinds_of(system: System) -> list[Told]:
    """Those that took effect, oldest first. Raises Busy while the journal is being filled."""
    with closing(system.log()) as log, closing(system.tables()) as tables:
        catch_up_whole(system.log_opener(), log, tables)
        return _told(log, tables)


def _told(log: EventLog, tables: Tables) -> list[Told]:
    control, end = _control(log, tables)
    valid = valid_rewinds(control)
    current = {link.epoch for link in Effect(control, end).links}
    found = []
    for number, (offset, rewind) in enumerate(valid, 1):
        [record] = next(iter(log.read(CONTROL_PARTITION, offset, offset + 1)))
        said = decode_control(record.value)
        assert isinstance(said, Control) and as_rewind(said) == rewind, "it was read as one before"
        fields = said.body[1]
        found.append(
            Told(
                number,
                offset,
                rewind,
                fields["kind"],
                record.time,
                fields["target_time"],
                said.actor,
                fields["reason"],
                chain(valid, rewind.target)[-1].epoch,
                sum(count_in(tables, span) for span in spans(control, offset, end)),
                rewind.epoch in current,
            )
        )
    return found


def _control(log: EventLog, tables: Tables) -> tuple[Sequence[tuple[int, Rewind]], Position]:
    """Every rewind up to the tables' position, and that."""
    end = tables.position()
    return rewinds_upto(log, end.control, known_rewinds(log, tables)), end


def set_aside_by(system: System, number: int) -> list[Aside]:
    """What the rewind of that number set aside, by stream. Raises Refused where there is none of that number, Busy."""
    with closing(system.log()) as log, closing(system.tables()) as tables:
        catch_up_whole(system.log_opener(), log, tables)
        return _by_stream(_rows(tables, *_numbered(log, tables, number)))


def _numbered(
    log: EventLog, tables: Tables, number: int
) -> tuple[Sequence[tuple[int, Rewind]], int, Position]:
    """Every rewind, the offset of the one of that number, and the tables' position."""
    control, end = _control(log, tables)
    valid = valid_rewinds(control)
    if not 1 <= number <= len(valid):
        hint = f"there are 1 to {len(valid)}: 'rekam rewinds list'" if valid else "no recovery went back yet"
        raise Refused(f"there is no rewind {number}", hint)
    return control, valid[number - 1][0], end


def _rows(
    tables: Tables, control: Sequence[tuple[int, Rewind]], offset: int, end: Position
) -> list[JournalRow]:
    """What the rewind at control's `offset` set aside, in log order."""
    with tables.reading():
        found = [row for span in spans(control, offset, end) for row in rows_in(tables, span)]
    return sorted(found, key=lambda row: (row.log_partition, row.log_offset))


def _by_stream(rows: Sequence[JournalRow]) -> list[Aside]:
    by_stream: dict[str, list[JournalRow]] = {}
    for row in rows:
        by_stream.setdefault(row.stream, []).append(row)
    return [
        Aside(
            stream,
            len(held),
            Counter(row.type for row in held),
            min(row.logged_at for row in held),
            max(row.logged_at for row in held),
            sum(row.verdict == Verdict.APPLIED for row in held),
        )
        for stream, held in sorted(by_stream.items())
    ]


def reapply(
    system: System, number: int, chosen: Chosen, actor: Mapping[str, str], tell: Callable[[int, int], object]
) -> Reapplied:
    """Appends chosen events that a rewind set aside anew, in the order of the log. `tell`: (done, of how many).

    Raises Refused where one that is named is not among them, Busy, LogUnavailable: the same again goes on.
    """
    with closing(system.log()) as log, closing(system.tables()) as tables:
        catch_up_whole(system.log_opener(), log, tables)
        control, offset, end = _numbered(log, tables, number)
        rows = _rows(tables, control, offset, end)
        strange = chosen.event_ids - {row.event_id for row in rows}
        if strange:
            raise Refused(
                f"rewind {number} set no event {min(strange).hex()} aside", "'rekam rewinds diff' shows which"
            )
        wanted = [row for row in rows if chosen.takes(row.stream, row.event_id)]
        before = end.replace({CONTROL_PARTITION: offset})
        took_effect = _applied(tables, {row.stream for row in wanted}, before, control)
        ids = {row.event_id for row in wanted if _place(row) in took_effect}
        # a command that lost a race decided anew, and its first event bears the same id
        wanted = [row for row in wanted if _place(row) in took_effect or row.event_id not in ids]
        with reapplying(system, log, tables, actor) as again:
            for count, row in enumerate(wanted, 1):
                if _place(row) not in took_effect:
                    again.done.refused.append((row.event_id, NEVER))
                elif row.verdict == Verdict.APPLIED:
                    again.done.again += 1
                else:
                    [record] = next(iter(log.read(row.partition, row.log_offset, row.log_offset + 1)))
                    again.apply(decode_event(record.value or b""))
                tell(count, len(wanted))
    return again.done


def _applied(
    tables: Tables, streams: Iterable[str], position: Position, control: Sequence[tuple[int, Rewind]]
) -> set[tuple[int, int]]:
    """The places of the events that had taken effect at a position."""
    histories = (history_at(tables, stream, position, control) for stream in streams)
    return {_place(row) for held in histories for row in held if row.verdict == Verdict.APPLIED}


def _place(row: JournalRow) -> tuple[int, int]:
    return row.log_partition, row.log_offset
