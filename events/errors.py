"""Every error that Rekam raises on purpose, split by what its reader does next.

Each carries what happened and where (`message`) and what to do about it (`hint`), in words that hold no
patient data: offsets, positions, digests, file names and line numbers, never names, numbers or payloads.
"""

from __future__ import annotations


class RekamError(Exception):
    """The root. `exit_code` is what the command line returns for it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Refused(RekamError):
    """What was asked cannot be done as asked; asking differently can help."""


class BadConfiguration(Refused):
    """A setting is missing, contradictory or unreadable."""

    exit_code = 2


class TablesOutdated(BadConfiguration):
    """The tables have the layout of another version: they are made anew from the log."""


class BadInput(Refused):
    """A file, a record or an argument is not what it should be."""


class WrongUsage(BadInput):
    """A command was given what it can never take; nothing was tried."""

    exit_code = 2


class TooLarge(BadInput):
    """A value is over a named limit."""


class UnknownSchema(BadInput):
    """A value names a fingerprint, or an event a type, that no released schema has."""


class Conflict(Refused):
    """The stream moved on: look again and decide anew. `current` is its version now."""

    def __init__(self, message: str, hint: str = "", *, current: int | None = None) -> None:
        super().__init__(message, hint)
        self.current = current


class SetAside(Refused):
    """The event stands in history that a rewind set aside; `epoch` is that rewind's."""

    def __init__(self, message: str, hint: str = "", *, epoch: bytes | None = None) -> None:
        super().__init__(message, hint)
        self.epoch = epoch


class LogMissing(Refused):
    """No log is where one should be: make one (init), or bring the lost one back (recover)."""


class Busy(Refused):
    """Somebody else holds the lease or won the race; nothing was changed by us."""


class Unavailable(RekamError):
    """A server or a disk does not answer: nothing was decided, the same call may be tried again."""


class LogUnavailable(Unavailable):
    """The event log cannot be reached."""


class KeysUnavailable(Unavailable):
    """The store of the patients' keys cannot be reached."""


class TablesUnavailable(Unavailable):
    """The database of the tables cannot be reached."""


class StoreUnavailable(Unavailable):
    """The object store of the archive cannot be reached."""


class LostData(RekamError):
    """History is shorter than it should be (law 5). Never retried, never passed over."""


class LogGap(LostData):
    """Offsets are missing in the log."""


class LogRecreated(LostData):
    """A topic is not the one that our positions count in."""


class ArchiveGap(LostData):
    """Offsets are missing in the archive."""


class BeforeArchive(LostData):
    """The target lies before the first thing that the archive can restore."""


class BeyondArchive(LostData):
    """The target lies beyond what the archive holds."""


class ArchiveDiverged(LostData):
    """The log and the archive hold different records at the same offsets."""


class Corrupt(LostData):
    """Stored bytes are not the bytes that were written."""


class TablesDamaged(Corrupt):
    """The database of the tables is damaged: nothing but time is lost, since they are made anew from the log."""
