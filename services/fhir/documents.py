"""Files inside FHIR resources: base64 that becomes a blob on the way in, and stands in its place again on the way out.

A resource comes back byte for byte as it was received, so a file is taken out of the original only where its base64
is what we would write again, and a mark is left in its place. A small file stays where it is: an archive of a few
thousand objects is worth more than a letter of a kilobyte in an object of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from services.fhir.elements import each, member

INLINE_BYTES = 16 * 1024
"""Files up to here stay in the original of their event."""
MARK = "blob:"
"""Stands before the digest of a file that was taken out; no base64 has a colon."""


class File(NamedTuple):
    """What a resource holds as base64."""

    content: bytes
    data: str
    """The base64, as it stands in the resource."""


def file_of(resource: Mapping[str, Any]) -> tuple[Mapping[str, Any], File] | None:
    """The first attachment of a DocumentReference that holds a file, and the file; None where none does."""
    for content in each(resource, "content"):
        attachment = member(content, "attachment")
        found = decoded(attachment.get("data"))
        if found is not None:
            return attachment, found
    return None


def decoded(data: object) -> File | None:
    """What base64 holds; None for what is none."""
    if not isinstance(data, str) or not data:
        return None
    try:
        return File(base64.b64decode("".join(data.split()), validate=True), data)
    except (binascii.Error, ValueError):
        return None


def taken_out(text: bytes, file: File) -> bytes | None:
    """The original with a mark in the file's place; None where the file would not come back as it stood there."""
    quoted, mark = f'"{file.data}"'.encode(), _mark(hashlib.sha256(file.content).digest())
    if encoded(file.content) != file.data or text.count(quoted) != 1 or mark in text:
        return None
    return text.replace(quoted, mark)


def put_back(text: bytes, content: bytes) -> bytes:
    """The original as it was received."""
    return text.replace(_mark(hashlib.sha256(content).digest()), f'"{encoded(content)}"'.encode())


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _mark(content_sha256: bytes) -> bytes:
    return f'"{MARK}{content_sha256.hex()}"'.encode()
