"""Telling somebody when the system is not well: a command or a webhook, decided purely.

An alert goes out when something new is wrong, again while it stays so, and once when all is well. What it says are the
lines of `rekam status`, which hold no patient data. One that could not be delivered is tried again at the next look.
"""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from events.errors import RekamError
from services.status import Colour, Status

COMMAND_SECONDS = 30
WEBHOOK_SECONDS = 10

Tell = Callable[[str], object]


class Alert(NamedTuple):
    """What is told. `findings`: (colour, text)."""

    clinic: str
    time: int
    """Milliseconds UTC."""
    colour: Colour
    findings: tuple[tuple[Colour, str], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "clinic": self.clinic,
            "time": self.time,
            "status": self.colour.value,
            "findings": [{"status": colour.value, "text": text} for colour, text in self.findings],
        }


@dataclass(frozen=True)
class Told:
    """What was told last, and when."""

    kinds: frozenset[str] = frozenset()
    time: int = 0


def to_tell(told: Told, clinic: str, status: Status, repeat_millis: int) -> Alert | None:
    """The alert that is due now, if one is. Numbers in a finding change from look to look and are not news."""
    wrong = tuple(f for f in status.findings if f[0] is Colour.RED)
    kinds = _kinds(wrong)
    news = bool(kinds - told.kinds) or (bool(told.kinds) and not kinds)
    again = bool(kinds) and status.now - told.time >= repeat_millis
    return Alert(clinic, status.now, status.colour, wrong) if news or again else None


def after(alert: Alert) -> Told:
    """What has been told once an alert was delivered."""
    return Told(_kinds(alert.findings), alert.time)


def _kinds(findings: Sequence[tuple[Colour, str]]) -> frozenset[str]:
    return frozenset("".join(c for c in text if not c.isdigit()) for _, text in findings)


def deliver(alert: Alert, command: Sequence[str], webhook: str | None) -> list[str]:
    """Tells by all means that are set. Gives what failed, in words."""
    failures = []
    document = json.dumps(alert.to_json()).encode()
    if command:
        try:
            subprocess.run(
                command, input=document, timeout=COMMAND_SECONDS, check=True, stdout=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError) as error:
            failures.append(f"the alert command failed ({type(error).__name__})")
    if webhook:
        request = urllib.request.Request(
            webhook, data=document, headers={"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS):
                pass
        except (OSError, urllib.error.URLError, ValueError) as error:
            failures.append(f"the alert webhook failed ({type(error).__name__})")
    return failures


class Channel(NamedTuple):
    """How somebody is told, and how often."""

    command: Sequence[str]
    webhook: str | None
    look_seconds: float
    repeat_millis: int


def alert_forever(
    look: Callable[[], Status], clinic: str, channel: Channel, stop: threading.Event, tell: Tell
) -> None:
    """Looks and alerts until `stop`. A look that fails is itself told."""
    told = Told()
    while not stop.is_set():
        try:
            status = look()
        except RekamError as error:
            tell(f"status cannot be looked at: {error}")
        else:
            alert = to_tell(told, clinic, status, channel.repeat_millis)
            failures = deliver(alert, channel.command, channel.webhook) if alert else []
            for failure in failures:
                tell(failure)
            if alert and not failures:
                told = after(alert)
        stop.wait(channel.look_seconds)
