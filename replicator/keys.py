"""Key files: written once, readable by their owner alone, durable before anybody relies on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from events.durable import sync
from events.errors import BadConfiguration, Refused
from replicator.encryption import Identity, new_identity
from replicator.note import Signer

SEED_BYTES = 32


def write_key_file(path: Path, text: str) -> None:
    """Creates `path` with mode 0600, whole or not at all. Raises Refused where it stands already."""
    half = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text if text.endswith("\n") else text + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(half, path)
        finally:
            half.unlink()
    except FileExistsError:
        raise Refused(f"{path} exists already", "a key is never overwritten; move it away first") from None
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from error
    sync(path.parent)


def replace_key_file(path: Path, text: str) -> None:
    """`path` holds `text` with mode 0600, durably, or what it held. Raises Refused where it cannot be written."""
    fresh = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    write_key_file(fresh, text)
    try:
        fresh.replace(path)
        sync(path.parent)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise Refused(f"{path} cannot be written: {error.strerror}", "check who owns it") from error


def create_signing_key(path: Path, name: str, random: Callable[[int], bytes] = os.urandom) -> Signer:
    """A new signing key, kept in `path`."""
    signer = Signer(name, random(SEED_BYTES))
    write_key_file(path, signer.secret_text())
    return signer


def create_identity(path: Path) -> Identity:
    """A new age identity, kept in `path`."""
    text, _ = new_identity()
    write_key_file(path, text)
    return Identity(text)


SIGNING_KEY_HINT = "owner.txt holds it: put what stands there behind '# rekam signing key:' into this file"


def load_signing_key(path: Path) -> Signer:
    """Raises BadConfiguration where it is missing or damaged."""
    return Signer.parse(_read(path, "signing key", SIGNING_KEY_HINT))


def load_identity(path: Path) -> Identity:
    """Raises BadConfiguration where it is missing or damaged."""
    return Identity(_read(path, "identity"))


def _read(path: Path, what: str, hint: str = "restore it from its copy") -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"the {what} {path} cannot be read", hint) from error
