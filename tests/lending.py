"""Servers where several processes share the tests (pytest-xdist): the controller keeps them, its workers borrow.

Each server is started once, when the first test of any worker asks, and ends with the controller. A worker cannot be
the one that keeps it, since it ends when it has no more tests, whatever the others still do. And only the controller
has a terminal to say at the end what was found, started or lacked.

A server that is bound to its keeper's life dies with the *thread* that started it, so the threads that start servers
stay until the controller ends.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from threading import Lock, Thread
from typing import NamedTuple

import pytest

from tests.servers import VARIABLES, Servers

BACKLOG = 64


class Counter(NamedTuple):
    """Where the workers of this run ask: a socket, and the key that keeps others away."""

    address: str
    key: bytes


class Answer(NamedTuple):
    """What came of a server: what to say of it, and its address if there is one; or what went wrong."""

    told: str
    address: Mapping[str, str] | None
    failure: str | None


@dataclass
class Borrowed(Servers):
    """A worker's servers. It starts none but those of a test's own."""

    counter: Counter = field(kw_only=True)

    def obtain(self, name: str) -> None:
        with Client(self.counter.address, authkey=self.counter.key) as connection:
            connection.send(name)
            answer: Answer = connection.recv()
        if answer.failure is not None:
            pytest.fail(answer.failure, pytrace=False)
        self.told[name] = answer.told
        if answer.address is not None:
            self.addresses[name] = answer.address


class Lender:
    """The controller's end."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._starting = ThreadPoolExecutor(len(VARIABLES), thread_name_prefix="starting")
        self._obtained: dict[str, Future[None]] = {}
        self._lock = Lock()
        key = secrets.token_bytes(32)
        self._listener = Listener(backlog=BACKLOG, authkey=key)
        self.counter = Counter(str(self._listener.address), key)
        Thread(target=self._serve, name="lending", daemon=True).start()

    def close(self) -> None:
        """Answers no more. Servers that are bound to this process may end here: discard them before."""
        self._listener.close()
        self._starting.shutdown()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except (AuthenticationError, EOFError, ConnectionError):
                continue  # whoever asked is gone, or none of ours
            except OSError:
                return  # closed
            Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: Connection) -> None:
        with connection, suppress(EOFError, OSError):
            connection.send(self._answer_for(connection.recv()))

    def _answer_for(self, name: str) -> Answer:
        with self._lock:
            if name not in self._obtained:
                self._obtained[name] = self._starting.submit(self._servers.obtain, name)
        error = self._obtained[name].exception()
        if error is not None:
            return Answer("", None, str(error))
        return Answer(self._servers.told[name], self._servers.addresses.get(name), None)
