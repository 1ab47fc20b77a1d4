"""Reads FHIR resources out of files, one at a time, whatever else those files hold.

Rules, and why they are so:
- A file is *lines* (NDJSON: a resource, or a small Bundle, a line) or a *document* (one JSON value: a Bundle or a
  single resource). Content decides, since names lie: see `_is_document`. Both may be plain, .gz or .xz.
- Lines are read one at a time and a Bundle's entries are cut out of a sliding window, so memory is bounded by
  MAX_RESOURCE_BYTES, not by the file. Only a Bundle of type `history` (newest first; it has to be turned round) and
  a Bundle that does not say what it is within its first PEEK_BYTES are held whole, up to MAX_DOCUMENT_BYTES.
- Links to folders are not followed: they may lead in a circle.
- The exact text of each resource is kept, byte for byte: what is exported later is what was received.
- What cannot be read is a Refusal with file, line (of a Bundle: entry) and reason, and the rest goes on. Reasons
  name no content: it is patient data.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias, cast

from events.errors import BadInput
from services.fhir.bundles import Entry, Window, entries, identity
from services.fhir.exact_json import Unfit, parse, reason, refuse_odd_characters
from services.fhir.links import links_and_owners
from services.fhir.references import Reference

MAX_RESOURCE_BYTES = 16 * 1024 * 1024
"""The longest text of one resource. Above it the line or the entry is refused."""
MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
"""The longest document that has to be held whole (see above)."""
MAX_ID_BYTES = 128
"""FHIR says 64 characters; systems that do not keep to it are many, and the id is only text to us."""
PEEK_BYTES = 64 * 1024
READ_BYTES = 256 * 1024
ENDINGS = (".ndjson", ".jsonl", ".json")
COMPRESSIONS = ("", ".gz", ".xz")

Resource: TypeAlias = dict[str, Any]
Moved: TypeAlias = Callable[[int], None]
"""Told how many bytes of the files as they lie on the disk were read since it was last told."""

NO_LINKS: Mapping[str, str] = {}
NO_OWNERS: Mapping[str, Reference] = {}


class Found(NamedTuple):
    """One resource as received."""

    file: str
    line: int
    """Line of the file, or number of the Bundle's entry, from 1."""
    text: bytes
    resource: Resource
    links: Mapping[str, str]
    """Within its Bundle: fullUrl -> `Type/id`."""
    owners: Mapping[str, Reference] = NO_OWNERS
    """Within its Bundle: `Binary/id` -> the patient whose document names it."""


class Refusal(NamedTuple):
    """What could not be read, and why. `line` 0: the file as such."""

    file: str
    line: int
    reason: str


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The files to read: those named, and of folders the FHIR files below them in sorted order.

    Raises BadInput where a path does not exist or a folder holds none: importing nothing must not look like success.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = sorted(_below(path))
            if not below:
                raise BadInput(
                    f"no FHIR files in {path}", f"names must end in {', '.join(ENDINGS)}, .gz, .xz"
                )
            files.extend(below)
        elif path.exists():
            files.append(path)
        else:
            raise BadInput(f"no such file: {path}", "check the path")
    return files


def _below(folder: Path) -> Iterator[Path]:
    endings = tuple(ending + packed for ending in ENDINGS for packed in COMPRESSIONS)
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(endings):
                yield Path(parent, name)


def _refuse_folder(error: OSError) -> None:
    # os.walk would pass over it in silence.
    raise BadInput(f"the folder {error.filename} cannot be read: {error.strerror}", "check its permissions")


def read_resources(files: Iterable[Path], moved: Moved | None = None) -> Iterator[Found | Refusal]:
    """Every resource of every file, in order. Reading a broken file ends that file with a Refusal, not the run."""
    for path in files:
        yield from _read_file(path, moved)


def _read_file(path: Path, moved: Moved | None) -> Iterator[Found | Refusal]:
    name, line = str(path), 0
    try:
        with _open(path, moved) as stream:
            for item in _read_stream(path, name, stream):
                line = item.line
                yield item
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile):
        yield Refusal(name, line + 1, "the compressed file is damaged or cut off here; the rest is not read")
    except OSError as error:
        yield Refusal(name, line, f"cannot be read: {error.strerror or 'input/output error'}")


class _Counted:
    """A binary file that tells how far it was read."""

    def __init__(self, raw: IO[bytes], moved: Moved | None) -> None:
        self._raw, self._moved = raw, moved

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        if self._moved is not None and data:
            self._moved(len(data))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


class _Stream:
    """Bytes of a (decompressed) file with a look ahead and bounded lines."""

    def __init__(self, stream: IO[bytes], closers: Sequence[IO[bytes]]) -> None:
        self._stream, self._closers, self._ahead = stream, closers, b""

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        for closer in self._closers:
            closer.close()

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size and (more := self._stream.read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead

    def read(self, size: int) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._stream.read(size)

    def lines(self, limit: int) -> Iterator[tuple[bytes, bool]]:
        """(line, whether it was over the limit and cut)."""
        rest = b""
        while data := self.read(READ_BYTES):
            *whole, rest = (rest + data).split(b"\n") if b"\n" in data else [rest + data]
            for line in whole:
                yield line, len(line) > limit
            if len(rest) > limit:
                yield rest, True
                rest = self._skip_line()
        if rest:
            yield rest, False

    def _skip_line(self) -> bytes:
        while data := self.read(READ_BYTES):
            _, newline, after = data.partition(b"\n")
            if newline:
                self._ahead = after + self._ahead
                return b""
        return b""


def _open(path: Path, moved: Moved | None) -> _Stream:
    raw = path.open("rb")
    counted = cast("IO[bytes]", _Counted(raw, moved))
    name = path.name.lower()
    if name.endswith(".gz"):
        unpacked = cast("IO[bytes]", gzip.GzipFile(fileobj=counted))
    elif name.endswith(".xz"):
        unpacked = cast("IO[bytes]", lzma.LZMAFile(counted))  # noqa: SIM115  (the stream closes it)
    else:
        return _Stream(counted, [raw])
    return _Stream(unpacked, [unpacked, raw])


_BUNDLE_FIRST = re.compile(rb'^\s*\{\s*"resourceType"\s*:\s*"Bundle"')
_BUNDLE = re.compile(r'"resourceType"\s*:\s*"Bundle"')
_HISTORY = re.compile(r'"type"\s*:\s*"history"')
_RESOURCE_NEXT = re.compile(rb'\n\{\s*"(resourceType|id)"\s*:')


def _is_document(head: bytes) -> bool:
    """Whether a file that begins with `head` is one JSON value over several lines (or one endless line)."""
    first, newline, _ = head.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")
    if not newline and len(head) >= PEEK_BYTES:
        return _BUNDLE_FIRST.match(first) is not None
    try:
        json.loads(first)
        return False
    except (ValueError, RecursionError):
        pass
    if _BUNDLE_FIRST.match(first):
        return True
    return not _RESOURCE_NEXT.search(head) and not first.rstrip().endswith(b"}")


def _read_stream(path: Path, name: str, stream: _Stream) -> Iterator[Found | Refusal]:
    head = stream.peek(PEEK_BYTES)
    if not head.strip():
        return
    if not _is_document(head):
        yield from _read_lines(name, stream)
        return
    text = head.decode("utf-8", errors="replace")
    if _BUNDLE.search(text) and not _HISTORY.search(text):
        yield from _read_bundle_file(path, name, stream)
        return
    yield from _read_document(name, stream)


def _read_lines(name: str, stream: _Stream) -> Iterator[Found | Refusal]:
    for number, (line, too_long) in enumerate(stream.lines(MAX_RESOURCE_BYTES), 1):
        if too_long:
            yield Refusal(name, number, f"longer than {MAX_RESOURCE_BYTES} bytes")
            continue
        text = line.strip(b" \t\r\n")
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if text:
            yield from _read_text(name, number, text)


def _read_document(name: str, stream: _Stream) -> Iterator[Found | Refusal]:
    parts: list[bytes] = []
    size = 0
    while data := stream.read(1024 * 1024):
        parts.append(data)
        size += len(data)
        if size > MAX_DOCUMENT_BYTES:
            yield Refusal(name, 1, f"a document of this kind may have at most {MAX_DOCUMENT_BYTES} bytes")
            return
    yield from _read_text(name, 1, b"".join(parts).removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n"))


def _read_text(name: str, line: int, text: bytes) -> Iterator[Found | Refusal]:
    """What one complete JSON text holds: a resource, or a Bundle's entries (whose `line` is then their number)."""
    try:
        decoded = text.decode()
        resource = parse(decoded)
        if isinstance(resource, dict) and resource.get("resourceType") == "Bundle":
            yield from _read_bundle_text(name, decoded, resource.get("type") == "history")
            return
        yield Found(name, line, text, _checked(resource, decoded), NO_LINKS)
    except ValueError as error:
        yield Refusal(name, line, reason(error))


def _read_bundle_file(path: Path, name: str, stream: _Stream) -> Iterator[Found | Refusal]:
    """Reads the file twice: references may point forward, so the links have to be known first."""
    with _open(path, None) as first:
        window = Window(first.read)
        links, owners = links_and_owners(entries(window))
    if window.kind == "history":  # said so late
        yield from _read_document(name, stream)
    else:
        yield from _found(name, entries(Window(stream.read)), links, owners)


def _read_bundle_text(name: str, text: str, newest_first: bool) -> Iterator[Found | Refusal]:
    held = [*entries(Window.over(text))]
    yield from _found(name, iter(held[::-1] if newest_first else held), *links_and_owners(iter(held)))


def _found(
    name: str,
    held: Iterator[Entry | ValueError],
    links: Mapping[str, str],
    owners: Mapping[str, Reference],
) -> Iterator[Found | Refusal]:
    number = 0
    for entry in held:
        if not isinstance(entry, Entry):
            yield Refusal(name, number + 1, f"{reason(entry)}; the rest of the Bundle is not read")
            continue
        number = entry.number
        if entry.text is not None:
            yield _found_one(name, entry, entry.text, links, owners)
        elif entry.method == "DELETE":
            yield Refusal(name, number, "a deletion: records are corrected, never deleted")


def _found_one(
    name: str, entry: Entry, text: str, links: Mapping[str, str], owners: Mapping[str, Reference]
) -> Found | Refusal:
    try:
        resource = _checked(entry.resource, text)
    except ValueError as error:
        return Refusal(name, entry.number, reason(error))
    known = identity(entry)
    if known is not None and "id" not in resource:
        resource = {**resource, "id": known}
    return Found(name, entry.number, text.encode(), resource, links, owners)


_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")


def _checked(resource: object, text: str) -> Resource:
    """The resource, if it is one that can be kept. Raises ValueError with a reason."""
    if not isinstance(resource, dict):
        raise Unfit("not a JSON object")
    if len(text) > MAX_RESOURCE_BYTES:
        raise Unfit(f"longer than {MAX_RESOURCE_BYTES} bytes")
    kind, known = resource.get("resourceType"), resource.get("id")
    if not isinstance(kind, str):
        raise Unfit("no resourceType")
    if not _TYPE.fullmatch(kind):
        raise Unfit("resourceType is not a type's name")
    if known is not None and not (
        isinstance(known, str) and 0 < len(known.encode(errors="replace")) <= MAX_ID_BYTES
    ):
        raise Unfit(f"id is not a text of 1 to {MAX_ID_BYTES} bytes")
    refuse_odd_characters(resource, text)
    return resource
