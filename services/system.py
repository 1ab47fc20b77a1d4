"""The parts of one clinic's system, as whoever runs them sees them: where log, tables and archive are.

`home.Home` finds them in rekam.toml; tests make them in memory. Opening is cheap enough to be done for each command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from events.attachments import Attachments
from events.blobs import BlobStore
from events.clock import Clock
from events.log import EventLog, LogReader, LogRestorer
from events.patient_keys import KeyStore
from events.sealing import Encoder
from projections.store import Tables
from replicator.archive import Archive, ArchiveIndex
from replicator.key_backup import KeyBackup
from replicator.shipper import Shipper
from services.backups.policy import Policy
from services.backups.schedule import Schedule


class System(Protocol):
    """Everything that a recovery needs of a clinic."""

    @property
    def clock(self) -> Clock:
        """Gives milliseconds UTC."""
        ...

    @property
    def interval_seconds(self) -> float:
        """How often the log is shipped."""
        ...

    @property
    def retention(self) -> Policy:
        """How long backups are kept."""
        ...

    @property
    def schedule(self) -> Schedule:
        """When backups are due, and the objectives that they serve."""
        ...

    @property
    def lock_millis(self) -> int:
        """How long the archive's store locks what is put there; 0 where it locks nothing."""
        ...

    def log(self) -> EventLog:
        """The log that stands. Raises LogMissing where there is none, LogUnavailable where nobody answers."""
        ...

    def restorer(self) -> LogRestorer: ...

    def tables(self, *, check: bool = True) -> Tables:
        """The tables, made empty where there are none. Raises TablesDamaged, and TablesOutdated where `check`."""
        ...

    def discard_tables(self) -> None:
        """Takes damaged tables away: they are made anew from the log."""
        ...

    def archive(self) -> ArchiveIndex:
        """The archive, verified up to its newest checkpoint."""
        ...

    def writer(self) -> Archive:
        """The archive's writing side, for snapshots."""
        ...

    def shipper(self, log: EventLog) -> Shipper: ...

    def remember(self, note: bytes) -> None:
        """Keeps the newest checkpoint's note outside the archive."""
        ...

    def begun(self) -> bytes | None:
        """The note of a recovery that has begun and not ended; None where there is none."""
        ...

    def keep_begun(self, note: bytes | None) -> None:
        """Keeps that note outside log, tables and archive; None takes it away. Raises Unavailable."""
        ...

    def measured(self) -> bytes | None:
        """How fast this machine recovered last; None where it never did. See recovery/measuring.py."""
        ...

    def keep_measured(self, note: bytes) -> None:
        """Raises Unavailable."""
        ...

    def patient_keys(self) -> KeyStore:
        """A connection of the caller's own to the store of the patients' keys; close it."""
        ...

    def key_backup(self) -> KeyBackup: ...

    def encoder(self) -> Encoder:
        """How events are written."""
        ...

    def blobs(self) -> BlobStore:
        """Where the files of attached documents are kept here."""
        ...

    def attachments(self, keys: KeyStore) -> Attachments:
        """What keeps those files, and opens them with these keys."""
        ...

    def log_opener(self) -> Callable[[], LogReader]:
        """Opens the log for reading; can be handed to another process."""
        ...

    def archive_opener(self) -> Callable[[], ArchiveIndex]:
        """Opens the archive for reading; can be handed to another process."""
        ...
