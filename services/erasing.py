"""Erasing and restricting a patient.

An erasure goes step by step, and each step holds when the next does not come to be; the same command goes on:

1. the keys are destroyed and the stream is marked: from here on no reader here shows anything of it;
2. `PatientErased` is appended, which names the key, and the tables are blanked;
3. the keys are backed up without those; what older backups may still hold goes in a known time;
4. an entry of the ledger, and a checkpoint that names it: from here on every recovery erases again;
5. the files of their documents are removed here, named by an event or not. The archive has them by then, unreadable as
   they are, so that nothing that a checkpoint covers is missing.

What holds whatever a rewind does are the marks and the ledger; the events tell about it. A restriction is a mark and
an event likewise; one that holds against erasure (a legal hold) is a mark of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

from events.attachments import erased_owners, remove_owned
from events.catalogue import SEALED
from events.client import Draft
from events.codec import Unreadable, decode_events
from events.envelope import Payload
from events.errors import Refused
from events.log import EventLog
from events.patient_keys import ERASED, KeyStore, Mark
from events.sealing import ERASURE_FAMILY, PATIENT, PATIENT_ERASED
from projections.store import JournalRow, Tables
from replicator.backups import Kind
from replicator.pruning import GRACE_DAYS
from services.backups.policy import Policy
from services.backups.retaining import DAY_MILLIS
from services.ledger import missing_from_ledger
from services.patients import HELD, HOLD_SCOPE, RESTRICTED, one_patient, one_stream, standing
from services.projecting import catch_up, catch_up_whole
from services.replicating import ship
from services.system import System
from services.writing import MICROS, client_on

YEAR_MILLIS = round(365.25 * 86_400_000)


@dataclass(frozen=True)
class Request:
    """Who asks for what, and why. No identity numbers belong in `reason` and `order`: both are kept for ever."""

    patient: str
    actor: Mapping[str, str]
    reason: str
    order: str | None = None
    """What orders an erasure before its time, or under legal hold."""


@dataclass(frozen=True)
class Report:
    """What an erasure did."""

    stream: str
    keys: tuple[str, ...]
    checkpoint: int
    backups_until: int | None
    """Until when older backups of keys may stand (milliseconds UTC); None: none does."""
    snapshots: int
    """Snapshots in the archive that were taken before: they may hold the data until they are deleted."""
    snapshots_until: int | None
    """When the last of them may go (milliseconds UTC), if backups are taken, expire and are pruned until then; None:
    no day is known, since backups are on hold."""
    in_the_clear: int
    """Events that were written unsealed: they stay on the log and in the archive, and are not shown."""
    files: int
    """Attached files that were removed from this machine."""
    numbers: int
    """Numbers (medical record, invoices) that were reserved for them: they stay taken, in the clinic's own stream."""


def erase(
    system: System,
    request: Request,
    *,
    retention_years: float,
    tell: Callable[[str], object] = lambda text: None,
    enter_others: Callable[[], object] = lambda: None,
) -> Report:
    """`tell` hears first by what name the same command goes on: no number of the patient's leads to them any more.
    `enter_others`: brings the erasure to further archives, while the patient's files are still here to be shipped.

    Raises Refused before the patient's time has come, unless ordered; else whatever stopped a step: run it again."""
    with (
        closing(system.log()) as log,
        closing(system.tables()) as tables,
        closing(system.patient_keys()) as keys,
    ):
        catch_up_whole(system.log_opener(), log, tables)
        stream = stream_to_erase(tables, request.patient)
        journal = tables.journal(stream)
        numbers = tables.numbers_of(stream)
        mark = keys.marks(ERASED).get(stream)
        if mark is None:
            refuse_early(keys, stream, journal, request, system.clock(), retention_years)
            mark = _mark(system, keys, stream, ERASED, request)
        tell(f"Erasing {stream}: if this does not come to its end, name it by that and do it again.")
        ids = tuple(keys.destroy(stream, mark))
        words = {"key_id": ids[0], "legal_basis": request.order, "reason": request.reason}
        _append(system, log, tables, stream, (PATIENT_ERASED, words), request, key=f"erase {stream}")
        catch_up(log, tables)
        until = system.key_backup().replace(keys)
        archive = system.archive()
        checkpoint = enter(system, log)
        enter_others()
        files = remove_owned(system.blobs(), erased_owners(keys, [stream]))
    return Report(
        stream,
        ids,
        checkpoint,
        until,
        len(archive.snapshots),
        until_of(system),
        _in_the_clear(journal),
        files,
        numbers,
    )


def until_of(system: System) -> int | None:
    return snapshots_until(system.retention, system.schedule.full_millis, system.lock_millis, system.clock())


def snapshots_until(policy: Policy, full_millis: int | None, lock_millis: int, now: int) -> int | None:
    """When the last snapshot that was taken until now may go (milliseconds UTC); None: no day is known.

    It is kept as long as its full backup is: for its days, among the newest, under what was built on it until the
    next one, and while the store locks it.
    """
    if policy.holds:
        return None
    keep, between = policy.keep, full_millis or 0
    full = max(keep[Kind.FULL].days * DAY_MILLIS, keep[Kind.FULL].newest * between)
    built = max(keep[kind].days for kind in (Kind.DIFFERENTIAL, Kind.INCREMENTAL)) * DAY_MILLIS + between
    return now + round(max(full, built, lock_millis) + GRACE_DAYS * DAY_MILLIS)


def enter(system: System, log: EventLog) -> int:
    """The checkpoint that covers every erasure in the archive's ledger."""
    entries = missing_from_ledger(system, system.writer(), system.archive())
    return ship(system, log, entries=entries).checkpoint


def stream_to_erase(tables: Tables, text: str) -> str:
    """As `one_stream`."""
    stream = one_stream(tables, text)
    if not stream.startswith(PATIENT):
        raise Refused("only patients are erased", "name a patient")
    return stream


def refuse_early(
    keys: KeyStore,
    stream: str,
    journal: list[JournalRow],
    request: Request,
    now: int,
    retention_years: float,
) -> None:
    """Raises Refused where the law still keeps the record, unless the erasure is ordered. `now`: milliseconds."""
    if request.order is not None:
        return
    if standing(keys, stream, HELD) is not None:
        raise Refused(
            "this patient's record is under legal hold", "lift it first, or name the order: --order TEXT"
        )
    happened = [row.occurred_at // MICROS for row in journal if not row.type.startswith("erasure.")]
    until = kept_until(max(happened, default=now), retention_years)
    if now < until:
        years = (until - now) / YEAR_MILLIS
        raise Refused(
            f"this record must be kept for {years:.1f} more years: {retention_years:g} after its last event",
            "restrict it meanwhile (rekam restrict), or name what orders its erasure: --order TEXT",
        )


def kept_until(last: int, retention_years: float) -> int:
    """Until when a record must be kept whose last event happened at `last`; milliseconds UTC."""
    return last + round(retention_years * YEAR_MILLIS)


class Due(NamedTuple):
    """A patient whose record need not be kept any longer. Times in milliseconds UTC."""

    stream: str
    last: int
    """When the last of their events happened."""
    until: int
    """Until when the record had to be kept."""


def due(system: System, *, retention_years: float) -> list[Due]:
    """Patients who may be erased, who waited longest first; not those under legal hold, nor those erased.

    Raises Busy while the journal is being filled.
    """
    with (
        closing(system.log()) as log,
        closing(system.tables()) as tables,
        closing(system.patient_keys()) as keys,
    ):
        catch_up_whole(system.log_opener(), log, tables)
        held = {stream for stream in keys.marks(HELD) if standing(keys, stream, HELD) is not None}
        kept = held | keys.marks(ERASED).keys()
        found = [
            Due(stream, last // MICROS, kept_until(last // MICROS, retention_years))
            for stream, last in tables.last_happened().items()
            if stream.startswith(PATIENT) and stream not in kept
        ]
    return sorted((d for d in found if d.until <= system.clock()), key=lambda d: (d.until, d.stream))


def _mark(system: System, keys: KeyStore, stream: str, name: str, request: Request, **more: Any) -> Mark:
    """Newer than the one in its place, though the clock was set back."""
    held = keys.marks(name).get(stream)
    at = system.clock() if held is None else max(system.clock(), held.body["at"] + 1)
    body = {"at": at, "actor": dict(request.actor), "reason": request.reason, **more}
    return Mark(stream, name, {**body, "order": request.order} if name == ERASED else body)


def _append(
    system: System,
    log: EventLog,
    tables: Tables,
    stream: str,
    payload: Payload,
    request: Request,
    *,
    key: str | None = None,
) -> None:
    draft = Draft(payload, system.clock() * MICROS, request.actor)
    client_on(system, log, tables).append(stream, lambda head: draft, key=key, reapply=True)


def _in_the_clear(journal: list[JournalRow]) -> int:
    found = decode_events([row.value for row in journal])
    kinds = [event.payload[0] for event in found if not isinstance(event, Unreadable)]
    return sum(kind != SEALED and not kind.startswith(ERASURE_FAMILY) for kind in kinds)


def restrict(system: System, request: Request, *, hold: bool, lift: bool) -> str:
    """Begins or ends a restriction (or a legal hold), which no rewind lifts; the patient's stream."""
    name, scope = (HELD, HOLD_SCOPE) if hold else (RESTRICTED, "all")
    with (
        closing(system.log()) as log,
        closing(system.tables()) as tables,
        closing(system.patient_keys()) as keys,
    ):
        catch_up_whole(system.log_opener(), log, tables)
        stream = one_patient(tables, request.patient)
        if stream in keys.marks(ERASED):
            raise Refused("this patient was erased", "there is nothing left to restrict")
        if (standing(keys, stream, name) is None) == (not lift):
            mark = _mark(system, keys, stream, name, request, lifted=lift)
            words: dict[str, Any] = {"scope": scope, "reason": request.reason}
            if lift:
                payload: Payload = ("id.rekam.erasure.RestrictionLifted", {**words, "restriction": None})
                _append(system, log, tables, stream, payload, request)
                keys.put_mark(mark)
            else:
                keys.put_mark(mark)
                payload = ("id.rekam.erasure.PatientRestricted", {**words, "legal_basis": None})
                _append(system, log, tables, stream, payload, request)
            catch_up(log, tables)
    return stream
