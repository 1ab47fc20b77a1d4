"""Every archive's ledger of erasures: brought up to date from the marks, so that none is missing where one failed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from events.patient_keys import ERASED, KeyStore, Mark
from replicator.archive import Archive, ArchiveIndex
from replicator.entries import Entry
from replicator.erasures import Erasure, read_erasures, write_erasure
from services.system import System


def replay(ledger: Sequence[Erasure], keys: KeyStore) -> int:
    """Destroys what the ledger says is destroyed; how many patients had to be erased again."""
    return sum(len(keys.destroy_keys(erasure.keys, erasure.mark())) for erasure in ledger)


def missing_from_ledger(system: System, writer: Archive, index: ArchiveIndex) -> list[Entry]:
    """Entries for those erased here whose keys this archive's ledger does not name: the next checkpoint must.

    And the other way round: a store of keys that was put back from an old copy learns here who was erased since.
    """
    ledger = read_erasures(index)
    with closing(system.patient_keys()) as keys:
        replay(ledger, keys)
        erased = keys.marks(ERASED)
        named = {key for erasure in ledger for key in erasure.keys}
        made: list[Entry] = []
        for stream, mark in sorted(erased.items(), key=lambda item: item[1].body["at"]):
            ids = tuple(key.id for key in keys.keys_of(stream))
            if not set(ids) <= named:
                made.append(write_erasure(writer, len(ledger) + len(made) + 1, _erasure(ids, mark)))
    return made


def _erasure(ids: tuple[str, ...], mark: Mark) -> Erasure:
    body = mark.body
    return Erasure(ids, body["at"], body.get("actor", {}), body.get("reason", ""), body.get("order"))
