"""Fetching what a witness cosigned last, for whoever audits: nothing of it is believed before its signatures."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from events.errors import Corrupt, Refused
from replicator.witnessing.cosignature import WitnessKey, cosigned
from services.witnessing.calling import asked, pool


def fetch_word(url: str, origin: str, key: WitnessKey | None) -> bytes:
    """The newest note that a witness cosigned for an origin. Without its `key` only the clinic's signature counts.

    Raises Unavailable where nobody answers, Refused where there is no such note, or it bears no cosignature by the key.
    """
    note = _get(f"{url.rstrip('/')}/checkpoint/{quote(origin)}")
    if key is not None:
        try:
            times = cosigned(note, [key], f"the note of {url}").times
        except Corrupt as error:
            raise Refused(error.message, "is the witness's key right?") from None
        if key.name not in times:
            raise Refused(
                f"the note of {url} bears no cosignature of {key.name}", "is the witness's key right?"
            )
    return note


def _get(address: str) -> bytes:
    with pool() as connections:
        answer = asked(connections, "GET", address)
    if answer.status != HTTPStatus.OK:
        raise Refused(f"{address} answers with status {answer.status}", "does the witness know this archive?")
    return answer.body
