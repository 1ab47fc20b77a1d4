"""Asking a witness over HTTP, bounded in time and size. urllib3 is imported once somebody is asked: it is slow to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from events.errors import Unavailable

if TYPE_CHECKING:
    from urllib3 import PoolManager

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
MAX_ANSWER_BYTES = 64 * 1024


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


Post = Callable[[bytes], Answer]
"""Sends an add-checkpoint request. Raises Unavailable where nobody answers."""


def pool() -> PoolManager:
    """Connections to a witness, kept from one asking to the next."""
    import urllib3

    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS), retries=False
    )


def asked(connections: PoolManager, method: str, address: str, body: bytes | None = None) -> Answer:
    """What the witness answers, whatever its status. Raises Unavailable where nobody does."""
    from urllib3.exceptions import HTTPError

    try:
        answer = connections.request(method, address, body=body, redirect=False, preload_content=False)
        try:
            data = answer.read(MAX_ANSWER_BYTES)
            more = answer.read(1)
        finally:
            answer.release_conn()
    except (HTTPError, OSError, ValueError) as error:
        raise Unavailable(
            f"the witness does not answer ({type(error).__name__})", "is its url right?"
        ) from None
    if more:
        raise Unavailable("the witness's answer is too long", "is its url right?")
    return Answer(answer.status, answer.headers.get("Content-Type", ""), data)


def poster(url: str) -> Post:
    """Of a witness's URL."""
    connections, address = pool(), f"{url.rstrip('/')}/add-checkpoint"
    return lambda body: asked(connections, "POST", address, body)
