"""Files inside FHIR resources: base64 that becomes a blob on the way in, and stands in its place again on the way out.

A resource comes back byte for byte as it was received, so a file is taken out of the original only where its base64
is what we would write again, and a mark is left in its place. A small file stays where it is: an archive of a few
thousand objects is worth more than a letter of a kilobyte in an object of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from events.attachments import Kept
from services.fhir.elements import Fields, each, member

INLINE_BYTES = 16 * 1024
"""Files up to here stay in the original of their event."""
MARK = "blob:"
"""Stands before the digest of a file that was taken out; no base64 has a colon."""
_DATA = b'"data"'

Keep: TypeAlias = Callable[[bytes], Kept]
"""Keeps a file, durably."""
Read: TypeAlias = Callable[[Kept], bytes]
"""Gives it back."""


class File(NamedTuple):
    """What a resource holds as base64."""

    content: bytes
    data: str
    """The base64, as it stands in the resource."""


class Original(NamedTuple):
    """A resource as its event keeps it."""

    text: bytes
    files: tuple[Kept, ...] = ()
    """Those that were taken out of it."""

    def blob_of(self, content_sha256: bytes) -> bytes | None:
        """The blob that holds a file; None where it stands in the text."""
        return next((file.blob_sha256 for file in self.files if file.content_sha256 == content_sha256), None)


def take_out(text: bytes, resource: Mapping[str, Any], keep: Keep) -> Original:
    """The original without its large files, which are kept. Raises as `keep`: then the resource is not taken."""
    if len(text) <= INLINE_BYTES or _DATA not in text:
        return Original(text)
    files: dict[bytes, Kept] = {}
    for data in _datas(resource):
        file = decoded(data) if len(data) > INLINE_BYTES else None
        without = None if file is None or len(file.content) <= INLINE_BYTES else _taken_out(text, file)
        if file is not None and without is not None:
            kept = keep(file.content)
            files[kept.content_sha256] = kept
            text = without
    return Original(text, tuple(files.values()))


def put_back(text: bytes, files: Iterable[Mapping[str, Any]], read: Read) -> bytes:
    """The original as it was received. `files`: as the event has them. Raises as `read`."""
    for file in files:
        kept = Kept(file["blob_sha256"], file["content_sha256"], file["size_bytes"])
        text = text.replace(_mark(kept.content_sha256), f'"{encoded(read(kept))}"'.encode())
    return text


def fields_of(original: Original) -> list[Fields]:
    """What the event says of the files."""
    return [file._asdict() for file in original.files]


def file_of(resource: Mapping[str, Any]) -> tuple[Mapping[str, Any], File] | None:
    """The first attachment of a DocumentReference (or the Binary itself) that holds a file; None where none does."""
    attachments = [resource] if resource.get("resourceType") == "Binary" else _attachments(resource)
    for attachment in attachments:
        found = decoded(attachment.get("data"))
        if found is not None:
            return attachment, found
    return None


def _attachments(resource: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [member(content, "attachment") for content in each(resource, "content")]


def decoded(data: object) -> File | None:
    """What base64 holds; None for what is none."""
    if not isinstance(data, str) or not data:
        return None
    try:
        return File(base64.b64decode("".join(data.split()), validate=True), data)
    except (binascii.Error, ValueError):
        return None


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _datas(resource: Mapping[str, Any]) -> Iterator[str]:
    """Every text under the name `data`, however deep; without recursion, since a file may be as deep as it likes."""
    waiting: list[object] = [resource]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            data = value.get("data")
            if isinstance(data, str):
                yield data
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _taken_out(text: bytes, file: File) -> bytes | None:
    """The text with a mark in the file's place; None where the file would not come back as it stood there."""
    quoted, mark = f'"{file.data}"'.encode(), _mark(hashlib.sha256(file.content).digest())
    if encoded(file.content) != file.data or quoted not in text or mark in text:
        return None
    return text.replace(quoted, mark)


def _mark(content_sha256: bytes) -> bytes:
    return f'"{MARK}{content_sha256.hex()}"'.encode()
