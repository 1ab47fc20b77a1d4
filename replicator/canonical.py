"""Canonical JSON (RFC 8785, integers only): one value, one sequence of bytes, so that it can be hashed and signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from events.errors import BadInput, Corrupt

SAFE_INTEGER = 2**53 - 1
"""What every JSON reader holds exactly."""


def utc_second(millis: int) -> str:
    """A time as labels and keys say it: `20261124T103000Z`."""
    return datetime.fromtimestamp(millis // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def canonical(value: Any) -> bytes:
    """The canonical bytes. Raises BadInput for what canonical JSON here cannot hold (floats, large integers)."""
    _check(value)
    return encoded(value)


def encoded(value: Any) -> bytes:
    """The same for a value that was checked, or parsed, before."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def parse_canonical(data: bytes, where: str) -> dict[str, Any]:
    """The object that `data` is the canonical form of. Raises Corrupt naming `where`."""
    try:
        value = json.loads(data, parse_float=_refuse, parse_int=_integer, parse_constant=_refuse)
        same = isinstance(value, dict) and encoded(value) == data
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise Corrupt(f"{where} is not canonical JSON", "its bytes were changed, or something else wrote it")
    result: dict[str, Any] = value
    return result


def _refuse(text: str) -> None:
    raise ValueError("not an integer")


def _integer(text: str) -> int:
    value = int(text) if len(text) <= len(str(-SAFE_INTEGER)) else SAFE_INTEGER + 1
    if abs(value) > SAFE_INTEGER:
        raise ValueError("an integer that not every reader holds")
    return value


def _check(value: Any) -> None:
    if isinstance(value, dict):
        if not all(isinstance(name, str) and name.isascii() for name in value):
            raise BadInput("canonical JSON: member names are ASCII")
        for member in value.values():
            _check(member)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item)
    elif isinstance(value, int):
        if abs(value) > SAFE_INTEGER:
            raise BadInput("canonical JSON: an integer is beyond 2^53 - 1")
    elif value is not None and not isinstance(value, str):
        raise BadInput(f"canonical JSON cannot hold a {type(value).__name__}")
