"""What an audit finds, and what follows from it. Pure.

Three outcomes: ok; invalid, where anything in the archive is not as it was committed; inconclusive, where nothing is
wrong but something could not be shown. Whoever cannot show that all is well must not say that it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from replicator.outcome import Outcome

MAX_FINDINGS = 200
"""Findings that are kept of each audit; the others are counted."""


class What(StrEnum):
    """What happened to an object or a range."""

    EDITED = "edited"
    TRUNCATED = "truncated"
    MISSING = "missing"
    SWAPPED = "swapped"
    REORDERED = "reordered"
    CONTRADICTORY = "contradictory"
    """Signed, and against what else is signed: two statements of whoever holds the key."""
    ROLLED_BACK = "rolled back"
    FORKED = "forked"
    REPLACED = "replaced"
    """Another archive is in this one's place."""


class Finding(NamedTuple):
    """One thing that is wrong. Never patient data."""

    what: What
    where: str
    """The object's key, or a range: `rekam.events/0, offsets 5 to 9`, `checkpoints 3 to 7`."""
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what.value}" + (f": {self.detail}" if self.detail else "")

    def to_json(self) -> dict[str, str]:
        return {"what": self.what.value, "where": self.where, "detail": self.detail}


@dataclass
class Findings:
    """A bounded list: the first of them, and how many of each kind there were."""

    kept: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, what: What, where: str, detail: str = "") -> None:
        self.extend([Finding(what, where, detail)])

    def extend(self, found: Iterable[Finding]) -> None:
        for finding in found:
            self.counts[finding.what.value] += 1
            if len(self.kept) < MAX_FINDINGS:
                self.kept.append(finding)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "findings": [finding.to_json() for finding in self.kept],
            "findings_by_kind": dict(sorted(self.counts.items())),
        }


def outcome(findings: Findings, reasons: Iterable[str]) -> Outcome:
    """`reasons`: why the audit could not show everything."""
    if len(findings):
        return Outcome.INVALID
    return Outcome.INCONCLUSIVE if list(reasons) else Outcome.OK
