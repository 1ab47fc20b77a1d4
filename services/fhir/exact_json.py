"""JSON with exact numbers: what was received can be compared, digested and written again without loss.

Numbers with a point or an exponent are Decimal, for FHIR's precision is part of the value (`1.0` is not `1.00`).
Sameness of content is the SHA-256 of a canonical form (keys sorted, no white space), so that the same resource out of
NDJSON, a pretty-printed Bundle or another server's export is not taken for a change.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any


class Unfit(ValueError):
    """Its text is a reason that may be shown: it holds nothing of the content."""


def reason(error: ValueError) -> str:
    """Why a text could not be read, without any of it."""
    if isinstance(error, Unfit):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.pos + 1}"
    return "not JSON: a number is out of range"


def _refuse_constant(_: str) -> float:
    raise Unfit("not JSON: NaN and Infinity are not numbers")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)


def parse(text: str) -> Any:
    """The value of a whole JSON text. Raises ValueError (see `reason`)."""
    return _guarded(_DECODER.decode, text)


def parse_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start` (no white space before it), and where it stops. Raises as `parse`."""
    value, stop = _guarded(_DECODER.raw_decode, text, start)
    return value, int(stop)


def _guarded(decode: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return decode(*arguments)
    except RecursionError:
        raise Unfit("nested too deeply") from None
    except InvalidOperation:
        raise Unfit("not JSON: a number is out of range") from None


def _marked(value: object) -> str:
    # A text never holds NUL (such resources are refused), so a number that travels as one is found again.
    if isinstance(value, Decimal):
        return f"\0{value}"
    raise TypeError(f"not a JSON value: {type(value).__name__}")


_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_marked, check_circular=False
)
_MARKED_NUMBER = re.compile(r'"\\u0000([^"]*)"')


def canonical(value: object) -> str:
    """Keys sorted by code point, no white space, ASCII escapes, numbers with the precision given."""
    text = _CANONICAL.encode(value)
    return _MARKED_NUMBER.sub(r"\1", text) if "\\u0000" in text else text


def content_digest(value: object) -> bytes:
    """SHA-256 (32 bytes) of the canonical form: equal for texts that mean the same JSON, precision included."""
    return hashlib.sha256(canonical(value).encode("ascii")).digest()


def write(value: object) -> str:
    """Compact JSON text of a parsed value, numbers as they were."""
    return "".join(_pieces(value))


def _pieces(value: object) -> Iterator[str]:
    if isinstance(value, Decimal):
        yield str(value)
    elif isinstance(value, dict):
        for n, (key, inner) in enumerate(value.items()):
            yield f"{',' if n else '{'}{json.dumps(key, ensure_ascii=False)}:"
            yield from _pieces(inner)
        yield "}" if value else "{}"
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield "," if n else "["
            yield from _pieces(inner)
        yield "]" if value else "[]"
    else:
        yield json.dumps(value, ensure_ascii=False)


_ODD = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def refuse_odd_characters(value: object, text: str) -> None:
    """Raises Unfit at NUL, which FHIR does not allow and PostgreSQL cannot hold, and at half a surrogate pair,
    which is no character. `text` is what `value` was parsed from: looking there first is fast."""
    if not _ODD.search(text):
        return
    for string in _strings(value):
        if "\0" in string:
            raise Unfit("holds a NUL character")
        try:
            string.encode()
        except UnicodeEncodeError:
            raise Unfit("holds half a surrogate pair") from None


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
