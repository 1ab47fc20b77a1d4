"""The machine's clock, asked here alone: whatever needs the time is handed a `Clock`, so that tests own it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Gives the time now; its unit is its user's: milliseconds for a log, microseconds for an event."""


def wall_millis() -> int:
    """Milliseconds since 1970 UTC. May run backwards."""
    return time.time_ns() // 1_000_000


def wall_micros() -> int:
    """Microseconds since 1970 UTC. May run backwards."""
    return time.time_ns() // 1_000
