"""The lease: one projector at a time.

What keeps two projectors from applying the same records is the cursor, which each compares and sets in the
transaction of its rows. The lease spares them that race: it says who projects and until when, is renewed in the
same transaction as the rows, and is given back at the end. A holder that died is waited for until its lease
expires, unless it was a process of this machine that is seen to be gone.
"""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

from events.errors import Busy

PROJECTOR = "projector"
REBUILD = "rebuild"
LEASE_MICROS = 10_000_000
"""How long the projector's lease holds without being renewed."""
TERM_MICROS = {PROJECTOR: LEASE_MICROS, REBUILD: 30 * 60 * 1_000_000}
"""A rebuild renews its lease between its steps, of which the longest is making indexes."""


class Lease(NamedTuple):
    holder: str
    expires_at: int
    """Microseconds since 1970 UTC."""


def holder_name(nonce: str) -> str:
    """`machine/process id/nonce`: who holds a lease, told apart from every other opened table set."""
    return f"{socket.gethostname()}/{os.getpid()}/{nonce}"


def is_gone(holder: str) -> bool:
    """Whether the holder was a process of this machine that runs no more."""
    machine, _, rest = holder.partition("/")
    process, _, _ = rest.partition("/")
    if machine != socket.gethostname() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def taken(name: str, held: Lease | None, holder: str, now: int) -> Lease:
    """The lease `name` as `holder` may take or renew it at `now`. Raises Busy where somebody else holds it."""
    if held is not None and held.holder != holder and held.expires_at > now and not is_gone(held.holder):
        left = (held.expires_at - now) / 1_000_000
        raise Busy(
            f"another {name} ({held.holder}) holds the tables for {left:.0f} s more",
            "let it go on, or stop it first",
        )
    return Lease(holder, now + TERM_MICROS[name])
