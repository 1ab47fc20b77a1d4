"""The lease: one projector at a time.

What keeps two projectors from applying the same records is the cursor, which each compares and sets in the
transaction of its rows. The lease spares them that race: it says who projects and until when, is renewed in the
same transaction as the rows, and is given back at the end. A holder that died is waited for until its lease
expires, unless it was a process of this machine that is seen to be gone.

A process is told by its number and by when it started, since numbers are used again: at once in a container that
starts anew. Numbers mean something within one boot and one PID namespace alone, so both are part of the machine's
name: of a holder elsewhere nobody here can say that it is gone.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import NamedTuple

from events.errors import Busy

PROJECTOR = "projector"
REBUILD = "rebuild"
LEASE_MICROS = 10_000_000
"""How long the projector's lease holds without being renewed."""
TERM_MICROS = {PROJECTOR: LEASE_MICROS, REBUILD: 30 * 60 * 1_000_000}
"""A rebuild renews its lease between its steps, of which the longest is making indexes."""
PROC = Path("/proc")
UNKNOWN = "?"
"""Where the system does not say (it has no /proc)."""
_DEAD = ("Z", "X")
_STATE, _THREADS, _STARTED = 0, 17, 19
"""Fields of /proc/<number>/stat, counted from the one behind the process's name."""


class Lease(NamedTuple):
    holder: str
    expires_at: int
    """Microseconds since 1970 UTC."""


def holder_name(nonce: str) -> str:
    """`machine/process number/its start/nonce`: who holds a lease, told apart from every other opened table set."""
    facts = _facts(os.getpid())
    return f"{_machine()}/{os.getpid()}/{facts[_STARTED] if facts else UNKNOWN}/{nonce}"


def is_gone(holder: str) -> bool:
    """Whether the holder was a process of this machine that runs no more."""
    machine, _, rest = holder.partition("/")
    number, _, rest = rest.partition("/")
    started, _, _ = rest.partition("/")
    if machine != _machine() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # it is another user's, or no number of a process
    facts = _facts(int(number))
    if facts is None or started == UNKNOWN:
        return False
    dead = facts[_STATE] in _DEAD and int(facts[_THREADS]) <= 1  # killed, and not waited for yet
    return dead or facts[_STARTED] != started


@cache
def _machine() -> str:
    """Its name, the boot and the PID namespace that we are in."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text()[:8]
        namespace = (PROC / "self/ns/pid").readlink().name
    except OSError:
        boot = namespace = UNKNOWN
    return f"{socket.gethostname()} {boot} {namespace}"


def _facts(number: int) -> list[str] | None:
    """What the system says of a process: its state first. None where it says nothing."""
    try:
        return (PROC / str(number) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def taken(name: str, held: Lease | None, holder: str, now: int) -> Lease:
    """The lease `name` as `holder` may take or renew it at `now`. Raises Busy where somebody else holds it."""
    if held is not None and held.holder != holder and held.expires_at > now and not is_gone(held.holder):
        left = (held.expires_at - now) / 1_000_000
        raise Busy(
            f"another {name} ({held.holder}) holds the tables for {left:.0f} s more",
            "let it go on, or stop it first",
        )
    return Lease(holder, now + TERM_MICROS[name])
