"""How everything stands: the system, each of its archives, and the witnesses. What status, metrics and alerts show."""

from __future__ import annotations

from typing import Any

from services.home import Home
from services.status import Colour, Status, status_of
from services.witnessing.standing import findings, standing


def whole_status(place: Home) -> tuple[Status, list[dict[str, Any]]]:
    """The status, and each witness's standing as JSON has it."""
    found = status_of(place, {other.archive_name: other for other in place.archives()[1:]})
    witnesses = standing(place)
    found.findings += ((Colour(colour), text) for colour, text in findings(witnesses))
    if place.next_keys.is_dir() and any(place.next_keys.iterdir()):
        text = "keys are being rotated: 'rekam keys rotate' again brings it to its end"
        found.findings.append((Colour.YELLOW, text))
    return found, witnesses
