"""What a home keeps of its witnesses, beside the notes that it has seen: their word, and what was wrong last.

keys/seen/<archive>.<witness>.note           the newest note that the witness cosigned
keys/seen/<archive>.<witness>.trouble.json   why the last asking failed; gone once it succeeded
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from events.durable import disk_errors, put_durably
from events.errors import Corrupt, LostData, RekamError
from events.sqlite_file import folder_lock
from replicator.note import TreeHead, open_note, parse_head
from replicator.witnessing.cosignature import WitnessKey, cosigned
from services.home import Home
from services.moments import show_millis

GREEN, YELLOW, RED = "green", "yellow", "red"
"""As `services.status.Colour` has them, which whoever only ships need not import."""
LATE_SECONDS = 300
"""How long a witness may take before status says that it is behind."""
MILLIS = 1000


@dataclass(frozen=True)
class Witness:
    """One of those that rekam.toml names."""

    name: str
    url: str
    key: WitnessKey


@dataclass(frozen=True)
class Word:
    """What a witness cosigned last: the tree, and when (POSIX seconds)."""

    head: TreeHead
    seconds: int
    note: bytes


@dataclass(frozen=True)
class Trouble:
    """Why the last asking failed. `fork`: the archive is not the one that the witness saw; else it may pass."""

    text: str
    fork: bool
    time: int
    """Milliseconds UTC."""


def witnesses_of(place: Home) -> list[Witness]:
    """Those that rekam.toml names."""
    return [Witness(w.name, w.url, WitnessKey.parse(w.key)) for w in place.settings.witnesses]


def word_path(place: Home, witness: Witness) -> Path:
    return place.seen_path.with_name(f"{place.archive_name}.{witness.name}.note")


def _trouble_path(place: Home, witness: Witness) -> Path:
    return word_path(place, witness).with_suffix(".trouble.json")


def word_of(place: Home, witness: Witness) -> Word | None:
    """What the witness cosigned last of this archive, as this home kept it. Raises Corrupt, Unavailable."""
    path = word_path(place, witness)
    with disk_errors(path):
        note = path.read_bytes() if path.exists() else b""
    if not note:
        return None
    text = open_note(note, place.known_keys(), str(path))
    times = cosigned(note, [witness.key], str(path)).times
    if witness.key.name not in times:
        return None  # another key was written into rekam.toml: its witness has said nothing yet
    return Word(parse_head(text, str(path)), times[witness.key.name], note)


def cosigned_notes(place: Home) -> list[bytes]:
    """What this home kept of its witnesses' words on this archive, for `attested_by_witness`. Raises Unavailable."""
    found = []
    for witness in witnesses_of(place):
        path = word_path(place, witness)
        with disk_errors(path):
            if path.exists():
                found.append(path.read_bytes())
    return found


def keep_word(place: Home, witness: Witness, note: bytes) -> None:
    """Keeps a cosigned note; an older one, of a slower process, is passed over. Raises Corrupt, Unavailable."""
    path = word_path(place, witness)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with folder_lock(path.parent):
            try:
                before = word_of(place, witness)
            except Corrupt:
                before = None  # a fresh one is better
            if before is None or before.head.size <= _size(note):
                put_durably(path, note)


def _size(note: bytes) -> int:
    return parse_head(note.partition(b"\n\n")[0] + b"\n").size


def keep_trouble(place: Home, witness: Witness, error: RekamError | None) -> Trouble | None:
    """What became of the last asking; None: it succeeded. Raises Unavailable."""
    path = _trouble_path(place, witness)
    with disk_errors(path):
        if error is None:
            path.unlink(missing_ok=True)
            return None
        trouble = Trouble(str(error), isinstance(error, LostData), place.clock())
        path.parent.mkdir(parents=True, exist_ok=True)
        put_durably(path, json.dumps(vars(trouble)).encode())
        return trouble


def trouble_of(place: Home, witness: Witness) -> Trouble | None:
    """Raises Unavailable. What cannot be read was of a process that died while it wrote."""
    path = _trouble_path(place, witness)
    with disk_errors(path):
        try:
            return Trouble(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return None


def standing(place: Home) -> list[dict[str, Any]]:
    """How each witness stands to each archive of a home, without asking them: for `status`."""
    return [_standing(of, witness) for of in place.archives() for witness in witnesses_of(place)]


def _standing(place: Home, witness: Witness) -> dict[str, Any]:
    found: dict[str, Any] = {"archive": place.archive_name, "witness": witness.name}
    try:
        word, trouble = word_of(place, witness), trouble_of(place, witness)
        colour, text = _finding(place, word, trouble)
    except RekamError as error:
        return {**found, "leaves": None, "cosigned_at": None, "status": RED, "text": str(error)}
    at = None if word is None else show_millis(word.seconds * MILLIS, place.zone)
    leaves = None if word is None else word.head.size
    return {**found, "leaves": leaves, "cosigned_at": at, "status": colour, "text": text}


def _finding(place: Home, word: Word | None, trouble: Trouble | None) -> tuple[str, str]:
    if trouble is not None and trouble.fork:
        return RED, trouble.text
    seen = place.seen()
    size = 0 if seen is None else _size(seen)
    behind = size - (0 if word is None else word.head.size)
    if trouble is not None:
        return YELLOW, f"{trouble.text}; {max(0, behind):,} leaves are not cosigned"
    if word is None:
        return (YELLOW, "has cosigned nothing yet: 'rekam witness ask'") if size else (GREEN, "")
    if behind > 0 and place.clock() - word.seconds * MILLIS > LATE_SECONDS * MILLIS:
        return YELLOW, f"is {behind:,} leaves behind: is 'rekam run' or 'rekam replicate' running?"
    return GREEN, ""


def findings(stands: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What status says of them."""
    return [
        (found["status"], f"witness {found['witness']!r} of {found['archive']}: {found['text']}")
        for found in stands
        if found["status"] != GREEN
    ]
