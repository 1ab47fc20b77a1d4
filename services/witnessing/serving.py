"""The witness's endpoint: C2SP tlog-witness over HTTP, a thin shell over `replicator.witnessing`.

    POST /add-checkpoint        a checkpoint and the proof that its tree grew; answered with the cosignature
    GET  /checkpoint/ORIGIN     the newest note that was cosigned for an origin
    GET  /health                whether the folder can be read

There is no login: what counts is the clinic's signature on the checkpoint. FastAPI and uvicorn are imported here and
nowhere else, since they are slow to import; nobody but the witness's command imports this.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from events.clock import Clock
from events.errors import BadConfiguration, LostData, RekamError, TooLarge, Unavailable
from replicator.witnessing.deciding import TEXT_TYPE, Refusal, admit
from replicator.witnessing.keeping import WitnessFolder
from replicator.witnessing.request import MAX_REQUEST_BYTES

BODY_SECONDS = 10.0
"""After so long a request's body is not waited for any more."""
STOP_SECONDS = 10
"""How long what is under way may take once the witness is to end."""
MAX_CONNECTIONS = 100
_POLL_SECONDS = 0.2

Tell = Callable[[str], object]


def application(folder: WitnessFolder, clock: Clock, tell: Tell) -> FastAPI:
    """`clock` gives milliseconds UTC. What is told names origins that are known, sizes and statuses, nothing else."""
    app = FastAPI(title="Rekam witness", docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/add-checkpoint")
    async def add_checkpoint(request: Request) -> Response:
        try:
            body = await asyncio.wait_for(_body(request), BODY_SECONDS)
        except TooLarge as error:
            return _text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{error.message}\n")
        except TimeoutError:
            return _text(HTTPStatus.REQUEST_TIMEOUT, "the request did not come to its end\n")
        return await run_in_threadpool(_guarded, lambda: _add(folder, body, clock() // 1000, tell), tell)

    @app.get("/checkpoint/{origin:path}")
    def checkpoint(origin: str) -> Response:
        return _guarded(lambda: _newest(folder, origin), tell)

    @app.get("/health")
    def health() -> Response:
        return _guarded(lambda: _text(HTTPStatus.OK, f"ok, {len(folder.trusted())} origins\n"), tell)

    return app


async def _body(request: Request) -> bytes:
    """Raises TooLarge as soon as it is."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            raise TooLarge(f"a request has at most {MAX_REQUEST_BYTES} bytes")
    return body


def _add(folder: WitnessFolder, body: bytes, seconds: int, tell: Tell) -> Response:
    admitted = admit(body, folder.trusted())
    if isinstance(admitted, Refusal):
        tell(f"refused, {admitted.status.value}: {admitted.body.strip()}")
        return _refusal(admitted)
    head = admitted.head
    answer = folder.add(admitted, seconds)
    if isinstance(answer, Refusal):
        tell(f"refused, {answer.status.value}: {head.origin}, {head.size} leaves from {admitted.request.old}")
        return _refusal(answer)
    tell(f"cosigned: {head.origin}, {head.size} leaves")
    return _text(HTTPStatus.OK, answer.decode())


def _newest(folder: WitnessFolder, origin: str) -> Response:
    if origin not in folder.trusted():
        return _text(HTTPStatus.NOT_FOUND, "this witness does not know the origin\n")
    note = folder.newest(origin)
    if not note:
        return _text(HTTPStatus.NOT_FOUND, "nothing was cosigned for this origin yet\n")
    return _text(HTTPStatus.OK, note.decode())


def _guarded(work: Callable[[], Response], tell: Tell) -> Response:
    """What is wrong with the folder is told to whoever runs the witness, not to whoever asks."""
    try:
        return work()
    except LostData as error:
        tell(f"error: {error}")
        return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "what the witness keeps is damaged\n")
    except RekamError as error:
        tell(f"error: {error}")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "the witness cannot answer now\n")


def _refusal(refusal: Refusal) -> Response:
    return _text(refusal.status, refusal.body, refusal.content_type)


def _text(status: HTTPStatus, body: str, content_type: str = TEXT_TYPE) -> Response:
    return Response(body.encode(), status.value, headers={"Content-Type": content_type})


def listen(host: str, port: int) -> socket.socket:
    """Port 0: a free one. Raises Unavailable or BadConfiguration."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (socket.gaierror, OverflowError):
        raise BadConfiguration(
            f"{host} is no address of this machine", "127.0.0.1, or 0.0.0.0 for all"
        ) from None
    except OSError as error:
        raise Unavailable(
            f"{host}:{port} cannot be listened at: {error.strerror}", "choose another --port"
        ) from None


def serve(folder: WitnessFolder, at: socket.socket, stop: threading.Event, clock: Clock, tell: Tell) -> None:
    """Answers until `stop`; what is under way then is answered still."""
    config = uvicorn.Config(
        application(folder, clock, tell),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [at]}, name="witness")
    thread.start()  # not in the main thread: signals are the command's business
    while thread.is_alive() and not stop.wait(_POLL_SECONDS):
        pass
    server.should_exit = True
    thread.join()
