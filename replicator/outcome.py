"""What looking at an archive comes to: an audit, a verification, a drill."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    OK = "ok"
    INVALID = "invalid"
    INCONCLUSIVE = "inconclusive"
    """Nothing wrong was found, and something could not be looked at, or nobody attests it."""

    @property
    def exit_code(self) -> int:
        """Of the command that looked."""
        return {Outcome.OK: 0, Outcome.INVALID: 3, Outcome.INCONCLUSIVE: 4}[self]
