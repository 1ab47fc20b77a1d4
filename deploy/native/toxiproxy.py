"""Toxiproxy: a proxy whose connections tests can cut, slow down or truncate. Its own API creates the proxies."""

from __future__ import annotations

from pathlib import Path

from deploy.native.processes import Lacking, Server, accepts, free_port, new_folder

VERSION = "2.5.0"
MODULE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"


def binary(cache: Path) -> Path:
    """Where the built program stands in the cache, there or not."""
    return cache / "bin" / f"toxiproxy-{VERSION}"


def program(cache: Path) -> Path:
    """The built program. Raises Lacking."""
    found = binary(cache)
    if not found.exists():
        raise Lacking(f"toxiproxy {VERSION} is not installed", "deploy/native/servers.py install toxiproxy")
    return found


def prepare(cache: Path) -> Server:
    """A proxy server without proxies, not started yet. Raises Lacking or ServerError."""
    proxy = program(cache)
    folder, port = new_folder("toxiproxy"), free_port()
    return Server(
        name="toxiproxy",
        command=[str(proxy), "-host", "127.0.0.1", "-port", str(port)],
        folder=folder,
        port=port,
        environment={"REKAM_TEST_TOXIPROXY": f"http://127.0.0.1:{port}"},
        ready=lambda: accepts(port),
    )
