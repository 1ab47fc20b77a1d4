"""What a recovery keeps of itself until it has ended: taken up after a kill, it tells the RPO of the whole of it.

Log and archive say what is to be done, and need no help there. But whoever takes a recovery up finds the log restored
and the rewind appended, and would report that nothing was lost. So before each of these steps a small note goes into
the home folder: when the recovery began, what the step takes away, and the epoch that it begins. A note counts only
while its newest epoch is the log's, and each of its words only where that epoch is in effect: a stale note, of a step
that never came to be or of a recovery that another one followed, says nothing. It holds times, counts and epochs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from events.envelope import Epoch
from events.errors import Unavailable
from events.rules import Effect
from services.system import System

Tell = Callable[[str], object]


class Telling(Protocol):
    """The part of a report that is of the whole recovery, however often it was taken up."""

    started: int
    lost_after: int | None
    back_to: int | None
    set_aside_records: int


@dataclass(frozen=True)
class Begun:
    """The note. Times are milliseconds UTC, epochs hex digits."""

    started: int
    before: str
    """The newest epoch when it began; empty where there was none."""
    generations: dict[str, int] = field(default_factory=dict)
    """Epoch of a try to restore the log -> later than when what the log held is gone."""
    rewinds: dict[str, tuple[int | None, int]] = field(default_factory=dict)
    """Epoch of a try to append a rewind -> the moment that it goes back to, records that it sets aside."""

    @property
    def epochs(self) -> set[str]:
        return {self.before, *self.generations, *self.rewinds}


_NOTE = TypeAdapter(Begun)


class Attempt:
    """One run of a recovery, which may take an earlier one up."""

    def __init__(self, system: System, started: int, newest: Epoch | None, tell: Tell) -> None:
        self._system, self._tell = system, tell
        found = read_note(system.begun())
        if found is None or _hex(newest) not in found.epochs:
            found = Begun(started, _hex(newest))
        self._begun = found

    def loses(self, after: int, epoch: Epoch) -> None:
        """The log is to be restored, without what came later than `after`, into the generation `epoch`."""
        self._begun.generations[_hex(epoch)] = after
        self._keep()

    def goes_back(self, to: int | None, epoch: Epoch, set_aside_records: int) -> None:
        """History is to go on as it stood at `to`, in `epoch`; so many records are set aside, as far as is known."""
        self._begun.rewinds[_hex(epoch)] = to, set_aside_records
        self._keep()

    def ended(self, report: Telling, effect: Effect) -> None:
        """Tells `report` what was lost in all, by what is in effect, and forgets the note."""
        begun = self._begun
        report.started = begun.started
        lost = [after for epoch, after in begun.generations.items() if epoch in map(_hex, effect.known)]
        report.lost_after = lost[-1] if lost else None
        report.back_to, report.set_aside_records = begun.rewinds.get(_hex(effect.newest), (None, 0))
        self._write(None)

    def _keep(self) -> None:
        self._write(json.dumps(asdict(self._begun), sort_keys=True).encode())

    def _write(self, note: bytes | None) -> None:
        """A recovery does not fail for the want of its note."""
        try:
            self._system.keep_begun(note)
        except Unavailable as error:
            self._tell(f"note: {error.message}; a recovery that is taken up may report less than was lost")


def read_note(note: bytes | None) -> Begun | None:
    """None where there is none, or what is there is not one of ours."""
    try:
        return _NOTE.validate_json(note or b"")
    except ValidationError:
        return None


def _hex(epoch: Epoch | None) -> str:
    return epoch.hex() if epoch is not None else ""
