"""Writers compiled from Avro schemas: the counterpart of avro_reading, and as strict.

A writer refuses what a reader would refuse, so nothing enters the log that cannot come back: wrong types, unknown
fields, missing ones, text with NUL, long keys, decimals that are not plain, instants out of range. Fields that
have a default may be left out. Whatever is wrong raises BadInput, which names the field and never its value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from events.avro_schema import DECIMAL, INSTANTS, KEY_BYTES, Schema, field_name, full_name, names_of
from events.errors import BadInput, UnknownSchema

Writer: TypeAlias = Callable[[Any, Callable[[bytes], None]], None]
"""(value, where its bytes go, piece by piece)."""

_SHORT = 8192
_SHORT_TEXT, _KNOWN_TEXTS = 64, 4096
"""Texts of codes, units, names and roles come again and again; one field remembers so many of them."""


def varint(n: int) -> bytes:
    """A number of at most 64 bits, zigzag."""
    n = n << 1 if n >= 0 else ~(n << 1)
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


_LENGTHS = tuple(varint(n) for n in range(_SHORT))


def _length(n: int) -> bytes:
    return _LENGTHS[n] if n < _SHORT else varint(n)


def _wrong(what: str) -> NoReturn:
    raise BadInput(f"an event cannot be written: {what}", "see the event type's schema under schemas/")


def _whole(value: Any, bits: int, where: str) -> bytes:
    if type(value) is not int or not -(1 << bits - 1) <= value < 1 << bits - 1:
        _wrong(f"{where} is not a whole number of {bits} bits")
    return varint(value)


def _instant(value: Any, first: int, last: int, where: str) -> bytes:
    if type(value) is not int or not first <= value <= last:
        _wrong(f"{where} is not an instant between the years 1 and 9999")
    n = value << 1
    if not 1 << 49 <= n < 1 << 56:
        return varint(value)
    # Eight bytes: every instant since 1978, in microseconds.
    return bytes(
        (
            n & 127 | 128,
            n >> 7 & 127 | 128,
            n >> 14 & 127 | 128,
            n >> 21 & 127 | 128,
            n >> 28 & 127 | 128,
            n >> 35 & 127 | 128,
            n >> 42 & 127 | 128,
            n >> 49,
        )
    )


def _text(value: Any, form: str | None, where: str) -> bytes:
    """A text that is not short plain text, checked; its bytes without their length."""
    if not isinstance(value, str):
        _wrong(f"{where} is not text")
    try:
        raw: bytes = value.encode()
    except UnicodeEncodeError:
        _wrong(f"{where} is not text that UTF-8 can hold")
    if "\0" in value:
        _wrong(f"{where} holds NUL")
    if form == "key" and len(raw) > KEY_BYTES:
        _wrong(f"{where} is longer than {KEY_BYTES} bytes")
    if form == "decimal" and DECIMAL.fullmatch(value) is None:
        _wrong(f"{where} is not plain decimal text")
    return raw


class Texts(dict[str, bytes]):
    """Short texts met before, with their length in front, ready to be put."""

    def __init__(self, form: str | None, where: str) -> None:
        super().__init__()
        self.form, self.where = form, where

    def __missing__(self, value: str) -> bytes:
        raw = _text(value, self.form, self.where)
        piece = _length(len(raw)) + raw
        if len(raw) < _SHORT_TEXT and len(self) < _KNOWN_TEXTS:
            self[value] = piece
        return piece


def _complete(schema: Schema, value: Any) -> dict[str, Any]:
    """The value with its defaults filled in; a field that is missing or unknown is refused."""
    where = full_name(schema)
    if not isinstance(value, dict):
        _wrong(f"{where} is not given as a dict of fields")
    fields = {field["name"]: field for field in schema["fields"]}
    for name in value.keys() - fields.keys():
        _wrong(f"{where} has no field {name}")
    full = {}
    for name, field in fields.items():
        if name not in value and "default" not in field:
            _wrong(f"{where} lacks its field {name}")
        full[name] = value[name] if name in value else field["default"]
    return full


class _Source:
    """The text of one function while it is written. `put` takes the pieces."""

    def __init__(self, names: Mapping[str, Schema]) -> None:
        self.names = names
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {
            "length": _length,
            "lengths": _LENGTHS,
            "whole": _whole,
            "instant": _instant,
            "text": _text,
            "wrong": _wrong,
            "complete": _complete,
        }
        self._count = 0

    def fresh(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def add(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    # Each of these writes code that puts the value in the variable `of`; `where` names it in errors.

    def value(self, schema: Schema, of: str, depth: int, where: str, form: str | None = None) -> None:
        schema = self.names.get(schema, schema) if isinstance(schema, str) else schema
        if isinstance(schema, list):
            self.union(schema, of, depth, where, form)
            return
        kind = schema if isinstance(schema, str) else schema["type"]
        match kind:
            case "string":
                self.text(of, depth, where, form)
            case "bytes":
                self.add(depth, f"if type({of}) is not bytes: wrong({f'{where} is not bytes'!r})")
                self.add(depth, f"put(length(len({of})))", f"put({of})")
            case "fixed":
                size = schema["size"]
                self.add(depth, f"if type({of}) is not bytes or len({of}) != {size}:")
                self.add(depth + 1, f"wrong({f'{where} is not {size} bytes'!r})")
                self.add(depth, f"put({of})")
            case "long" | "int":
                self.number(schema, kind, of, depth, where)
            case "boolean":
                self.add(depth, f"if type({of}) is not bool: wrong({f'{where} is neither true nor false'!r})")
                self.add(depth, f"put(b'\\1' if {of} else b'\\0')")
            case "enum":
                symbols = {symbol: varint(n) for n, symbol in enumerate(schema["symbols"])}
                table = self.constant(symbols)
                self.add(depth, f"raw = {table}.get({of}) if type({of}) is str else None")
                self.add(
                    depth, f"if raw is None: wrong({f'{where} is not a symbol of its enum'!r})", "put(raw)"
                )
            case "array":
                self.array(schema, of, depth, where)
            case "record":
                self.record(schema, of, depth)
            case _:
                raise TypeError(f"schemas of ours have no {kind}")

    def text(self, of: str, depth: int, where: str, form: str | None) -> None:
        if form == "key":
            self.add(depth, f"raw = text({of}, {form!r}, {where!r})", "put(length(len(raw)))", "put(raw)")
        else:
            self.add(depth, f"put({self.constant(Texts(form, where))}[{of}])")

    def number(self, schema: Schema, kind: str, of: str, depth: int, where: str) -> None:
        logical = None if isinstance(schema, str) else schema.get("logicalType")
        if logical in INSTANTS:
            first, last = INSTANTS[logical]
            self.add(depth, f"put(instant({of}, {first}, {last}, {where!r}))")
        else:
            bits = 64 if kind == "long" else 32
            self.add(depth, f"if type({of}) is int and 0 <= {of} < {_SHORT}:", f"    put(lengths[{of}])")
            self.add(depth, "else:", f"    put(whole({of}, {bits}, {where!r}))")

    def array(self, schema: Schema, of: str, depth: int, where: str) -> None:
        item = self.constant(_compiled(schema["items"], self.names, where))
        self.add(depth, f"if type({of}) is not list: wrong({f'{where} is not a list'!r})", f"if {of}:")
        self.add(depth + 1, f"put(length(len({of})))", f"for one in {of}:", f"    {item}(one, put)")
        self.add(depth, "put(b'\\0')")

    def union(self, branches: Sequence[Schema], of: str, depth: int, where: str, form: str | None) -> None:
        if len(branches) == 2 and branches[0] == "null":
            self.add(depth, f"if {of} is None:", "    put(b'\\0')", "else:", "    put(b'\\2')")
            self.value(branches[1], of, depth + 1, where, form)
            return
        table = self.constant(PayloadWriters(branches, self.names))
        self.add(depth, f"{table}.write({of}, put)")

    def record(self, schema: Schema, of: str, depth: int) -> None:
        """All fields given, and no others: taken as they are. Else completed, which also says what is wrong."""
        of_type, fields = self.constant(schema), schema["fields"]
        pairs = [(field, self.fresh()) for field in fields]
        self.add(depth, f"if type({of}) is not dict or len({of}) != {len(fields)}:")
        self.add(depth + 1, f"{of} = complete({of_type}, {of})")
        self.add(depth, "try:")
        for field, to in pairs:
            self.add(depth + 1, f"{to} = {of}[{field_name(field['name'])!r}]")
        self.add(depth, "except KeyError:", f"    complete({of_type}, {of})", "    raise")
        self.fields(schema, pairs, depth)

    def fields(self, schema: Schema, pairs: Sequence[tuple[Schema, str]], depth: int) -> None:
        for field, of in pairs:
            where = f"{full_name(schema)}.{field['name']}"
            self.value(field["type"], of, depth, where, field.get("format"))


class PayloadWriters:
    """The branches of a union of records by full name, each compiled when it is first met."""

    def __init__(self, branches: Sequence[Schema], names: Mapping[str, Schema]) -> None:
        self._names = names
        self._branches = [names[b] if isinstance(b, str) else b for b in branches]
        self._numbers = {full_name(branch): n for n, branch in enumerate(self._branches)}
        self._compiled: dict[str, tuple[bytes, Writer]] = {}

    def write(self, value: Any, put: Callable[[bytes], None]) -> None:
        name, fields = value
        try:
            number, writer = self._compiled[name]
        except KeyError:
            number, writer = self._compile(name)
        put(number)
        writer(fields, put)

    def body(self, value: Any) -> bytes:
        """The bytes of the record alone, without its place in the union."""
        name, fields = value
        _, writer = self._compiled.get(name) or self._compile(name)
        pieces: list[bytes] = []
        writer(fields, pieces.append)
        return b"".join(pieces)

    def _compile(self, name: str) -> tuple[bytes, Writer]:
        if name not in self._numbers:
            raise UnknownSchema(
                f"no released schema has the type {name}", "see events.catalogue.event_types()"
            )
        n = self._numbers[name]
        made = self._compiled[name] = varint(n), _compiled(self._branches[n], self._names, name)
        return made


def _compiled(schema: Schema, names: Mapping[str, Schema], where: str) -> Writer:
    source = _Source(names)
    source.add(0, "def write(value, put):")
    source.value(schema, "value", 1, where)
    return _made(source)


def compile_writer(schema: Schema) -> Callable[[Any], bytes]:
    """The bytes of one value of a composed schema."""
    write = _compiled(schema, names_of(schema), "the value")

    def encode(value: Any) -> bytes:
        pieces: list[bytes] = []
        write(value, pieces.append)
        return b"".join(pieces)

    return encode


def compile_tuple_writer(schema: Schema, head: bytes) -> Callable[[tuple[Any, ...]], bytes]:
    """The bytes of one record, given as a tuple of its fields in order, behind `head`."""
    source = _Source(names_of(schema))
    source.add(0, "def write(value):", f"    pieces = [{head!r}]", "    put = pieces.append")
    pairs = [(field, source.fresh()) for field in schema["fields"]]
    source.add(1, f"{', '.join(of for _, of in pairs)}, = value")
    source.fields(schema, pairs, 1)
    source.add(1, "return b''.join(pieces)")
    return _made(source)


def _made(source: _Source) -> Callable[..., Any]:
    code = compile("\n".join(source.lines), "<writer compiled from a schema>", "exec")
    exec(code, source.constants)
    made: Callable[..., Any] = source.constants["write"]
    return made
