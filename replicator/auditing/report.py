"""The report of an audit: canonical JSON in one line, signed as a C2SP note. Kept outside the archive.

A signed report says who audited, not that the audit was right: whoever doubts it audits again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from events.errors import BadInput, Corrupt
from replicator.auditing.verifying import Audit
from replicator.canonical import canonical, parse_canonical
from replicator.note import Signer, Verifier, sign_note
from replicator.outcome import Outcome
from replicator.trust import carried

KIND = "rekam audit report"


def write_report(audit: Audit, started: int, ended: int, signer: Signer | None) -> bytes:
    """`started`, `ended`: milliseconds UTC. Unsigned without a signer."""
    text = canonical({"kind": KIND, "started": started, "ended": ended, **audit.to_json()}) + b"\n"
    return text if signer is None else sign_note(text, [signer])


@dataclass(frozen=True)
class Checked:
    """What a file that an audit wrote proves."""

    outcome: Outcome
    reasons: tuple[str, ...]
    told: dict[str, Any]


def kind_of(data: bytes) -> str:
    """What a file of ours says that it is; empty where it says nothing."""
    try:
        kind = parse_canonical(_text(data), "the file").get("kind")
    except Corrupt:
        return ""
    return kind if isinstance(kind, str) else ""


def _text(data: bytes) -> bytes:
    return data.split(b"\n", 1)[0]


def check_report(data: bytes, verifier: Verifier, where: str) -> Checked:
    """Raises BadInput where it is no report."""
    if kind_of(data) != KIND:
        raise BadInput(f"{where} is not a report of an audit")
    told = parse_canonical(_text(data), where)
    if b"\n\n" not in data:
        return Checked(Outcome.INCONCLUSIVE, ("nobody signed this report",), told)
    try:
        carried(verifier, told.get("signers", ())).open_newest(data, where)
        said = Outcome(told["outcome"])
    except (Corrupt, KeyError, ValueError, TypeError, AttributeError) as error:
        return Checked(Outcome.INVALID, (getattr(error, "message", "it holds no outcome"),), told)
    return Checked(said, tuple(told.get("reasons", ())), told)
