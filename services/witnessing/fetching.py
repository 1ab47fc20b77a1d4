"""Fetching what a witness cosigned last, for whoever audits: nothing of it is believed before its signatures."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from events.errors import Corrupt, Refused, Unavailable
from replicator.witnessing.cosignature import WitnessKey, cosigned
from services.witnessing.posting import ANSWER_SECONDS, CONNECT_SECONDS, MAX_ANSWER_BYTES


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
    import urllib3  # slow to import

    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
    try:
        with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            answer = pool.request("GET", address, redirect=False, preload_content=False)
            data = answer.read(MAX_ANSWER_BYTES)
            answer.release_conn()
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise Unavailable(
            f"{address} does not answer ({type(error).__name__})", "is its url right?"
        ) from None
    if answer.status != HTTPStatus.OK:
        raise Refused(f"{address} answers with status {answer.status}", "does the witness know this archive?")
    return data
