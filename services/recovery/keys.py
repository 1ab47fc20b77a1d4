"""Patients' keys in a recovery: they come back before anything is folded, and what was erased is erased again.

Log, tables and archive may be of any age, and so may the store of keys and its backup. The ledger of erasures in the
archive names every key that was destroyed, so after the keys have come back those go again, whichever backup they came
from, and nothing that they sealed is shown by whatever is folded, loaded or served from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from events.errors import Unavailable
from events.patient_keys import KeyStore
from projections.erasing import fold_again
from replicator.archive import ArchiveIndex
from replicator.erasures import read_erasures
from services.system import System

Tell = Callable[[str], object]


def bring_keys(system: System, tell: Tell) -> None:
    """The keys from their backup, then the ledger. Twice is once."""
    with closing(system.patient_keys()) as keys:
        bring_into(keys, system, system.archive(), tell)


def bring_into(keys: KeyStore, system: System, archive: ArchiveIndex, tell: Tell) -> None:
    """The same into any store of keys."""
    _restore(system, archive, keys, tell)
    erased = replay_ledger(archive, keys)
    if erased:
        tell(f"{erased} erased patients stay erased: their keys are destroyed again.")


def _restore(system: System, archive: ArchiveIndex, keys: KeyStore, tell: Tell) -> None:
    identity = archive.identity_key
    if identity is None:
        return
    try:
        found = system.key_backup().restore(keys, identity)
    except Unavailable as error:
        tell(f"warning: the backup of patients' keys cannot be reached: {error}")
        return
    for key in found.damaged:
        tell(f"warning: the backup of keys {key} is damaged and was passed over")
    if found.streams:
        tell(f"The keys of {len(found.streams):,} patients came back from their backup.")


def replay_ledger(archive: ArchiveIndex, keys: KeyStore) -> int:
    """How many patients had to be erased again."""
    return sum(len(keys.destroy_keys(erasure.keys, erasure.erased_at)) for erasure in read_erasures(archive))


def open_again(system: System) -> None:
    """What was folded while its key was missing is folded again where the key has come back."""
    with closing(system.patient_keys()) as keys:
        returned = keys.returned()
        if returned:
            with closing(system.tables()) as tables:
                fold_again(tables, returned.values())
            keys.forget_missed(list(returned))
