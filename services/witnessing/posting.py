"""Asking a witness over HTTP. urllib3 is imported once somebody is asked, since it is slow to import."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from events.errors import Unavailable

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
MAX_ANSWER_BYTES = 64 * 1024


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


Post = Callable[[bytes], Answer]
"""Sends an add-checkpoint request. Raises Unavailable where nobody answers."""


def poster(url: str) -> Post:
    """Of a witness's URL; the connection is kept from one asking to the next."""
    import urllib3

    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
    pool = urllib3.PoolManager(timeout=timeout, retries=False)
    address = f"{url.rstrip('/')}/add-checkpoint"

    def post(body: bytes) -> Answer:
        try:
            answer = pool.request("POST", address, body=body, redirect=False, preload_content=False)
            try:
                data = answer.read(MAX_ANSWER_BYTES)
                more = answer.read(1)
            finally:
                answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Unavailable(
                f"the witness does not answer ({type(error).__name__})",
                "it is asked again; is its url right?",
            ) from None
        if more:
            raise Unavailable("the witness's answer is too long", "is its url right?")
        return Answer(answer.status, answer.headers.get("Content-Type", ""), data)

    return post
