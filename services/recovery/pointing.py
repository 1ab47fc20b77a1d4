"""Targets as people write them: a time, words for one, a checkpoint, a backup, a position, an event."""

from __future__ import annotations

import re

from events.envelope import ID_BYTES, EventId
from events.errors import WrongUsage
from events.position import Partition, Position
from replicator.backups import Kind, named
from replicator.targets import Target
from services.home import Home
from services.moments import parse_moment

LATEST = "latest"
_CHECKPOINT = re.compile(r"checkpoint[ :](\d{1,12})\Z")
_LABEL = re.compile(rf"\d{{8}}T\d{{6}}Z-({'|'.join(Kind)})(-\d+)?\Z")
_PAIR = re.compile(r"([^\s,=]+)=(\d+)\Z")


def point_to(place: Home, to: str | None, before: str | None, after: str | None) -> Target:
    """Raises WrongUsage unless one of the three is given, and says something; Refused where the archive lacks it."""
    given = [text for text in (to, before, after) if text is not None]
    if len(given) != 1:
        raise WrongUsage("name one target", "--to TIME, --to latest, --before EVENT or --after EVENT")
    if to is None:
        return Target(event=parse_event_id(given[0]), inclusive=before is None)
    text = to.strip()
    if text == LATEST:
        return Target()
    if found := _CHECKPOINT.match(text):
        mark = place.archive().marks.numbered(int(found[1]))
        return Target(position=mark.position, moment=mark.time, name=f"checkpoint {int(found[1])}")
    if _LABEL.match(text):
        backup = named(place.archive().backups, text)
        return Target(position=backup.position, moment=backup.complete_through, name=f"backup {text}")
    if "=" in text:
        return Target(position=parse_position(text))
    try:
        return Target(time=parse_moment(text, place.zone, place.clock()))
    except WrongUsage as error:
        raise WrongUsage(
            error.message,
            f"{error.hint}; or 'checkpoint N', or a backup's label, as 'rekam points' lists them",
        ) from None


def parse_event_id(text: str) -> EventId:
    """32 hex digits, with or without hyphens. Raises WrongUsage."""
    try:
        found = bytes.fromhex(text.strip().replace("-", ""))
    except ValueError:
        found = b""
    if len(found) != ID_BYTES:
        raise WrongUsage("not an event's id", "32 hex digits, as 'rekam history' and 'rekam find' show them")
    return found


def parse_position(text: str) -> Position:
    """`topic/partition=offset`, separated by commas or spaces, as plans show it. Raises WrongUsage."""
    offsets: dict[Partition, int] = {}
    for part in text.replace(",", " ").split():
        found = _PAIR.match(part)
        try:
            partition = Partition.parse(found[1] if found else "")
            offset = int(found[2] if found else 0)
        except ValueError:
            hint = "write it as plans do: rekam.events/0=120, rekam.control/0=3, rekam.access/0=0"
            raise WrongUsage(f"not a part of a position: {part!r}", hint) from None
        if partition in offsets:
            raise WrongUsage(f"{partition} is named twice", "one offset for each")
        offsets[partition] = offset
    return Position(offsets)
