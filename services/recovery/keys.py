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
from events.errors import Unavailable
from events.log import LogReader
from events.patient_keys import ERASED, KeptKey, KeyStore
from events.position import EVENTS
from events.sealing import PATIENT_ERASED
from projections.erasing import fold_again
from replicator.archive import ArchiveIndex
from replicator.erasures import Erasure, read_erasures
from services.system import System

Tell = Callable[[str], object]


def bring_keys(system: System, tell: Tell) -> None:
    """The keys from their backup, then the ledger. Twice is once."""
    with closing(system.patient_keys()) as keys:
        bring_into(keys, system, system.archive(), tell)


def bring_into(keys: KeyStore, system: System, archive: ArchiveIndex, tell: Tell) -> None:
    """The same into any store of keys."""
    ledger = read_erasures(archive)
    _restore(system, archive, keys, ledger, tell)
    erased = replay_ledger(ledger, keys)
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
    for key in found.damaged:
        tell(f"warning: the backup of keys {key} is damaged and was passed over")
    if found.streams:
        tell(f"The keys of {len(found.streams):,} patients came back from their backup.")


def replay_ledger(ledger: Sequence[Erasure], keys: KeyStore) -> int:
    """How many patients had to be erased again."""
    return sum(len(keys.destroy_keys(erasure.keys, erasure.mark())) for erasure in ledger)


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


def open_again(system: System) -> None:
    """What was folded while its key was missing is folded again where the key has come back."""
    with closing(system.patient_keys()) as keys:
        returned = keys.returned()
        if returned:
            with closing(system.tables()) as tables:
                fold_again(tables, returned.values())
            keys.forget_missed(list(returned))
