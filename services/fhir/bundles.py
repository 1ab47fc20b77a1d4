"""Cuts the entries out of a FHIR Bundle with their exact text, through a sliding window over the JSON.

A Bundle may be larger than memory, and its resources have to be kept as they were written, so the Bundle is walked
member by member and only its entries' members are parsed, one at a time. JSON that breaks off ends the Bundle: where
its next entry would begin cannot be known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from services.fhir.exact_json import Unfit, parse_at

MAX_VALUE_CHARACTERS = 16 * 1024 * 1024
"""The longest single member of an entry."""
WINDOW_CHARACTERS = 256 * 1024
URN = "urn:uuid:"


class Entry(NamedTuple):
    """One entry: `text` and `resource` are None where it has none."""

    number: int
    full_url: str | None
    method: str | None
    text: str | None
    resource: Any


def identity(entry: Entry) -> str | None:
    """The resource's id; one that is yet to get its id from a server is known by its urn:uuid."""
    known = entry.resource.get("id")
    if isinstance(known, str):
        return known
    url = entry.full_url or ""
    return url.removeprefix(URN) if url.startswith(URN) and len(url) > len(URN) else None


class Window:
    """A sliding window over a JSON text, from which values are cut with their exact text."""

    def __init__(self, read: Callable[[int], bytes] | None) -> None:
        self._read, self._rest = read, b""
        self.text, self.at, self.ended = "", 0, read is None
        self.kind: object = None
        """The Bundle's `type`, once `entries` has passed it."""

    @classmethod
    def over(cls, text: str) -> Window:
        window = cls(None)
        window.text = text
        return window

    def _grow(self) -> bool:
        """Drops what was passed and reads on, at least doubling, so that a long value is not tried too often."""
        if self._read is None or self.ended:
            return False
        data = self._rest + self._read(max(WINDOW_CHARACTERS, len(self.text) - self.at))
        self.ended = len(data) == len(self._rest)
        cut = len(data) if self.ended else _whole_characters(data)
        self.text = self.text[self.at :] + data[:cut].decode()
        self._rest, self.at = data[cut:], 0
        return not self.ended

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\r\n\ufeff":
                self.at += 1
            if self.at < len(self.text) or not self._grow():
                return self.text[self.at : self.at + 1]

    def take(self, expected: str) -> str:
        """Passes one of the expected characters. Raises ValueError."""
        here = self.peek()
        if not here or here not in expected:
            raise Unfit(f"not JSON: expected one of {expected}")
        self.at += 1
        return here

    def value(self) -> tuple[Any, str]:
        """The next value and its exact text. Raises ValueError when it is not JSON or over the limit."""
        self.peek()
        while True:
            try:
                value, stop = parse_at(self.text, self.at)
                if stop < len(self.text) or self.ended:
                    text, self.at = self.text[self.at : stop], stop
                    return value, text
            except json.JSONDecodeError:
                if self.ended:
                    raise
            if len(self.text) - self.at > MAX_VALUE_CHARACTERS:
                raise Unfit(f"not JSON, or longer than {MAX_VALUE_CHARACTERS} characters")
            self._grow()


def _whole_characters(data: bytes) -> int:
    """How many of these UTF-8 bytes are whole characters."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) if needed <= back else len(data) - back
        if byte < 0x80:
            break
    return len(data)


def _members(window: Window) -> Iterator[str]:
    """The keys of the object that begins here; the caller passes each value."""
    window.take("{")
    if window.peek() == "}":
        window.take("}")
        return
    while True:
        key, _ = window.value()
        window.take(":")
        yield str(key)
        if window.take(",}") == "}":
            return


def _items(window: Window) -> Iterator[int]:
    """The numbers, from 1, of the elements of the array that begins here; the caller passes each."""
    window.take("[")
    if window.peek() == "]":
        window.take("]")
        return
    number = 0
    while True:
        number += 1
        yield number
        if window.take(",]") == "]":
            return


def entries(window: Window) -> Iterator[Entry | ValueError]:
    """The entries of the Bundle that begins here; the error that ended it, if one did."""
    try:
        for key in _members(window):
            if key == "entry" and window.peek() == "[":
                for number in _items(window):
                    yield _entry(window, number)
            else:
                value, _ = window.value()
                if key == "type":
                    window.kind = value
        if window.peek():
            raise Unfit("something follows the Bundle")
    except ValueError as error:
        yield error


def _entry(window: Window, number: int) -> Entry:
    if window.peek() != "{":
        return Entry(number, None, None, window.value()[1], None)
    full_url: str | None = None
    method: str | None = None
    text: str | None = None
    resource: Any = None
    for key in _members(window):
        value, exact = window.value()
        if key == "fullUrl" and isinstance(value, str):
            full_url = value
        elif key == "request" and isinstance(value, dict):
            method = str(value.get("method"))
        elif key == "resource":
            text, resource = exact, value
    return Entry(number, full_url, method, text, resource)
