"""Patients' keys in a recovery: they come back before anything is folded, and what was erased is erased again.

Log, tables and archive may be of any age, and so may the store of keys and its backup. The ledger of erasures in the
archive names every key that was destroyed, so of the keys that come back those come back destroyed, whichever backup
they come from, and nothing that they sealed is shown by whatever is folded, loaded or served from then on. Which
patient such a key belonged to, the ledger does not say: where no backup knows either, the log does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing

from events.catalogue import SEALED
from events.codec import decode_events
from events.envelope import Event
from events.errors import RekamError, Unavailable
from events.log import LogReader
from events.patient_keys import ERASED, KeptKey, KeyStore, Mark
from events.position import EVENTS
from events.sealing import PATIENT, PATIENT_ERASED
from projections.erasing import fold_again
from projections.store import JournalRow
from projections.system_tables import JOURNAL
from replicator.archive import ArchiveIndex
from replicator.erasures import Erasure, read_erasures
from services.ledger import replay
from services.patients import HELD, HOLD_SCOPE, RESTRICTED
from services.system import System

MICROS = 1000
NEWEST = 5
"""Events that are looked at for the key of a stream: what is told of erasure and restriction bears none."""
RESTRICTED_TYPE, LIFTED_TYPE = "erasure.PatientRestricted", "erasure.RestrictionLifted"
Tell = Callable[[str], object]


def bring_keys(system: System, tell: Tell) -> None:
    """The keys from their backup, then the ledger. Twice is once."""
    with closing(system.patient_keys()) as keys:
        bring_into(keys, system, system.archive(), tell)


def bring_into(keys: KeyStore, system: System, archive: ArchiveIndex, tell: Tell) -> None:
    """The same into any store of keys."""
    ledger = read_erasures(archive)
    _restore(system, archive, keys, ledger, tell)
    erased = replay(ledger, keys)
    if erased:
        tell(f"{erased} erased patients stay erased: their keys are destroyed again.")


def _restore(
    system: System, archive: ArchiveIndex, keys: KeyStore, ledger: Sequence[Erasure], tell: Tell
) -> None:
    identity = archive.identity_key
    if identity is None:
        return
    try:
        destroyed = {key for erasure in ledger for key in erasure.keys}
        found = system.key_backup().restore(keys, identity, destroyed)
    except Unavailable as error:
        tell(f"warning: the backup of patients' keys cannot be reached: {error}")
        return
    if found.refused:
        tell(f"warning: the backup of patients' keys is not read: {found.refused}")
    for key in found.damaged:
        tell(f"warning: the backup of keys {key} is damaged and was passed over")
    if found.streams:
        tell(f"The keys of {len(found.streams):,} patients came back from their backup.")


def erase_by_log(keys: KeyStore, archive: ArchiveIndex, log: LogReader, tell: Tell) -> None:
    """Before anything is folded: erases whom the ledger means by keys that no backup brought back.

    What was written about them in the clear would be shown else, and their streams be written to. Reads the log only
    where there are such keys. A stream of which another key stands is left alone and told of: the ledger would name
    that key too, so whoever wrote the event that says otherwise may have forged it. Twice is once.
    """
    ledger = read_erasures(archive)
    known = {key.id: stream for stream in keys.marks(ERASED) for key in keys.keys_of(stream)}
    unknown = {key for erasure in ledger for key in erasure.keys} - known.keys()
    if not unknown:
        return
    known |= _streams_of(unknown, log)
    erased = 0
    for erasure in ledger:
        for key_id, stream in [(key, known[key]) for key in erasure.keys if key in unknown & known.keys()]:
            if any(key.secret is not None for key in keys.keys_of(stream)):
                tell(f"warning: the ledger of erasures may mean {stream}, and another key of it stands")
                continue
            keys.merge([KeptKey(key_id, stream, erasure.erased_at, None)], [])
            erased += len(keys.destroy_keys([key_id], erasure.mark()))
    if erased:
        tell(f"{erased} erased patients stay erased: the log says who they were.")


def _streams_of(key_ids: Collection[str], log: LogReader) -> dict[str, str]:
    """key id -> the stream that it sealed, or whose erasure names it; of those that stand on the log."""
    found: dict[str, str] = {}
    for partition, stop in log.end().of(EVENTS).items():
        for batch in log.read(partition, 0, stop):
            for event in decode_events([record.value for record in batch]):
                if isinstance(event, Event) and event.payload[0] in (SEALED, PATIENT_ERASED):
                    key_id = event.payload[1]["key_id"]
                    if key_id in key_ids:
                        found.setdefault(key_id, event.stream)  # whoever copies a key's id comes later
    return found


def heed_ledger(system: System, other: System, tell: Tell) -> None:
    """What another archive's ledger tells, which the one that is recovered from may never have been told."""
    try:
        ledger = read_erasures(other.archive())
    except RekamError as error:
        tell(f"warning: another archive's ledger of erasures cannot be read: {error.message}")
        return
    with closing(system.patient_keys()) as keys:
        replay(ledger, keys)


def restrict_by_log(system: System) -> None:
    """What the store of keys and its backup have forgotten of restrictions and holds, as the log tells it.

    Whatever a rewind set aside counts too. A restriction that stands is never ended by this.
    """
    with closing(system.tables()) as tables, closing(system.patient_keys()) as keys:
        last: dict[tuple[str, str], Event] = {}
        rest = f"WHERE type IN ('{RESTRICTED_TYPE}', '{LIFTED_TYPE}') ORDER BY log_partition, log_offset"
        for event in decode_events([JournalRow(*row).value for row in tables.database.select(JOURNAL, rest)]):
            if isinstance(event, Event):
                name = HELD if event.payload[1]["scope"] == HOLD_SCOPE else RESTRICTED
                last[event.stream, name] = event
        for (stream, name), event in last.items():
            held, begins = keys.marks(name).get(stream), event.type == RESTRICTED_TYPE
            at = event.recorded_at // MICROS
            if held is None or (begins and held.body.get("lifted") and held.body["at"] < at):
                reason = event.payload[1]["reason"] or ""
                body = {"at": at, "actor": dict(event.actor), "reason": reason, "lifted": not begins}
                keys.put_mark(Mark(stream, name, body))


def note_missing(system: System) -> None:
    """Notes the keys of patients of whom the store holds none: whoever folds notices them, and what a snapshot brings
    back is not folded. Else nobody would hear of it until the next time that their events are read."""
    with closing(system.patient_keys()) as keys, closing(system.tables()) as tables:
        held = {key.stream for key in keys.changes(0).keys}
        streams = tables.database.fetch(
            f"SELECT stream FROM streams WHERE substr(stream, 1, {len(PATIENT)}) = '{PATIENT}'"
        )
        missed: dict[str, str] = {}
        for stream in sorted({str(stream) for (stream,) in streams} - held):
            newest = tables.database.select(
                JOURNAL, f"WHERE stream = ? ORDER BY log_offset DESC LIMIT {NEWEST}", (stream,)
            )
            for event in decode_events([JournalRow(*row).value for row in newest]):
                if isinstance(event, Event) and event.payload[0] == SEALED:
                    missed[event.payload[1]["key_id"]] = stream
        if missed:
            keys.missed(missed)


def open_again(system: System) -> None:
    """What was folded while its key was missing is folded again where the key has come back."""
    with closing(system.patient_keys()) as keys:
        returned = keys.returned()
        if returned:
            with closing(system.tables()) as tables:
                fold_again(tables, returned.values())
            keys.forget_missed(list(returned))
