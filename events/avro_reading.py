"""Readers compiled from Avro schemas: one Python function per record type, made once, run for each value.

Replay decides how long a recovery takes, and decoding is half of replay. A reader that walks the schema pays for
every field of every value; here the schema is walked once and becomes straight-line code, in which an absent
field costs one comparison and a short string one slice. (On our events two to three times as fast as fastavro:
docs/decisions/5-compiled-avro.md.)

What a value may hold is checked here and nowhere later, because no record on the log, however wrong, may stop a
reader: what passes goes into every database that we know.
- Every byte belongs to the value: it ends where its last field ends.
- Text is UTF-8 without NUL; text that names a row (`"format": "key"`) has at most KEY_BYTES bytes; decimals
  (`"format": "decimal"`) are plain decimal text, without exponent and without minus zero.
- Instants (timestamp-micros, timestamp-millis) lie in the years 1 to 9999.

Whatever is wrong raises one of MALFORMED. The schemas are those of our catalogue: unions are null and one type,
or records; maps, floats and recursion do not occur and are refused when compiling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from events.avro_schema import (
    DECIMAL,
    INSTANTS,
    KEY_BYTES,
    Schema,
    field_name,
    full_name,
    may_be_absent,
    names_of,
)

Reader: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
"""(bytes, where to begin) -> (value, where it ended)."""
RowsReader: TypeAlias = Callable[[bytes, int], list[tuple[Any, ...]]]
"""(bytes, how many) -> that many records. Raises one of MALFORMED."""
MALFORMED = (IndexError, ValueError)
"""What a reader raises on bytes that are not a value (UnicodeDecodeError is a ValueError)."""

DISTINCT = "distinct"
"""The form (`"format"`) of text that hardly comes twice, for readers alone: not part of any schema."""
_LONGEST_VARINT = 10
_KNOWN_TEXTS = 4096
"""How many texts one field remembers."""
_GROUP = 3
"""The last fields of an event type (corrects, reason, origin) are mostly absent and looked at together."""


def read_long(b: bytes, i: int) -> tuple[int, int]:
    """One zigzag varint of at most 64 bits at `i`."""
    n = result = b[i]
    start = i
    i += 1
    if n & 128:
        result &= 127
        shift = 7
        while n & 128:
            n = b[i]
            i += 1
            result |= (n & 127) << shift
            shift += 7
            if i - start > _LONGEST_VARINT:
                raise ValueError("a number is longer than 64 bits")
        if result >> 64:
            raise ValueError("a number is longer than 64 bits")
    return (result >> 1) ^ -(result & 1), i


def _read_length(b: bytes, i: int) -> tuple[int, int]:
    n, i = read_long(b, i)
    if n < 0 or n > len(b):
        raise ValueError("a length is out of range")
    return n, i


def _read_index(b: bytes, i: int) -> tuple[int, int]:
    """Which symbol, which branch: one too high has no place in their list, one below none must not count back."""
    n, i = read_long(b, i)
    if n < 0:
        raise ValueError("no such branch")
    return n, i


def _read_key_length(b: bytes, i: int) -> tuple[int, int]:
    n, i = _read_length(b, i)
    if n > KEY_BYTES:
        raise ValueError("a key is too long")
    return n, i


def _read_blocks(b: bytes, i: int, item: Reader) -> tuple[list[Any], int]:
    """An array: blocks of items until an empty one. A negative count is followed by the block's size."""
    items: list[Any] = []
    while True:
        count, i = read_long(b, i)
        if count == 0:
            return items, i
        if count < 0:
            count = -count
            _, i = read_long(b, i)
        if count > len(b):
            raise ValueError("an array is longer than its value")
        for _ in range(count):
            value, i = item(b, i)
            items.append(value)


def _read_text(raw: bytes) -> str:
    text = raw.decode()
    if "\0" in text:
        raise ValueError("a text holds NUL")
    return text


def _read_decimal(raw: bytes) -> str:
    text = raw.decode()
    if DECIMAL.fullmatch(text) is None:
        raise ValueError("not plain decimal text")
    return text


class Texts(dict[bytes, str]):
    """Short texts met before: codes, units and names come again and again, and are then checked and kept once."""

    def __init__(self, read: Callable[[bytes], str]) -> None:
        super().__init__()
        self.read = read

    def __missing__(self, raw: bytes) -> str:
        text = self.read(raw)
        if len(self) < _KNOWN_TEXTS:
            self[raw] = text
        return text


def _malformed(what: str) -> NoReturn:
    raise ValueError(what)


class _Source:
    """The text of one function while it is written."""

    def __init__(self, names: Mapping[str, Schema]) -> None:
        self.names = names
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {
            "read_long": read_long,
            "read_index": _read_index,
            "read_length": _read_length,
            "read_key_length": _read_key_length,
            "read_blocks": _read_blocks,
            "malformed": _malformed,
            "NO_EIGHT": bytes(8),
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

    # Each of these writes code that reads one value at `i` into the variable `to` and moves `i` behind it.

    def value(self, schema: Schema, to: str, depth: int, form: str | None = None) -> None:
        schema = self.names.get(schema, schema) if isinstance(schema, str) else schema
        if isinstance(schema, list):
            self.union(schema, to, depth, form)
            return
        kind = schema if isinstance(schema, str) else schema["type"]
        match kind:
            case "string" | "bytes":
                self.text(kind, to, depth, form)
            case "long" | "int":
                self.number(schema, to, depth)
            case "boolean":
                wrong = "malformed('a boolean is neither')"
                self.add(depth, f"{to} = b[i] == 1 or (b[i] != 0 and {wrong})", "i += 1")
            case "fixed":
                size = schema["size"]
                self.add(depth, f"{to} = b[i:i + {size}]", f"i += {size}")
            case "enum":
                symbols = self.constant(tuple(schema["symbols"]))
                self.add(depth, "n, i = read_index(b, i)", f"{to} = {symbols}[n]")
            case "array":
                items = self.constant(compile_reader(schema["items"], self.names))
                self.add(depth, "if b[i]:", f"    {to}, i = read_blocks(b, i, {items})", "else:")
                self.add(depth + 1, "i += 1", f"{to} = []")
            case "record":
                self.record(schema, to, depth)
            case _:
                raise TypeError(f"schemas of ours have no {kind}")

    def text(self, kind: str, to: str, depth: int, form: str | None) -> None:
        """A length of one byte, and short texts through the table of texts that came before, in line."""
        if kind == "bytes":
            self.add(depth, "n, i = read_length(b, i)", "j = i + n", f"{to} = b[i:j]", "i = j")
            return
        if form == DISTINCT:
            self.distinct(to, depth)
            return
        read = "read_key_length" if form == "key" else "read_length"
        nul = f"if '\\0' in {to}: malformed('a text holds NUL')"
        known = self.constant(Texts(_read_decimal if form == "decimal" else _read_text))
        self.add(depth, "n = b[i]", "if n & 129:", f"    n, i = {read}(b, i)", "    j = i + n")
        self.add(depth + 1, f"{to} = {known}.read(b[i:j])", "i = j")
        self.add(depth, "else:")
        self.add(depth + 1, "j = i + 1 + (n >> 1)")
        if form == "key":
            self.add(depth + 1, f"{to} = b[i + 1:j].decode()", nul)
        else:
            self.add(depth + 1, f"{to} = {known}[b[i + 1:j]]")
        self.add(depth + 1, "i = j")

    def distinct(self, to: str, depth: int) -> None:
        """Text that hardly comes twice: looking it up among those met before would only cost."""
        self.add(depth, "n = b[i]", "if n & 129:", "    n, i = read_length(b, i)", "else:")
        self.add(depth + 1, "n >>= 1", "i += 1")
        self.add(depth, "j = i + n", f"{to} = b[i:j].decode()", "i = j")
        self.add(depth, f"if '\\0' in {to}: malformed('a text holds NUL')")

    def number(self, schema: Schema, to: str, depth: int) -> None:
        """Numbers of one byte, and those of eight (every instant since 1988, in microseconds), in line."""
        bits = 32 if schema == "int" else 64
        logical = None if isinstance(schema, str) else schema.get("logicalType")
        if logical not in INSTANTS:
            self.add(depth, "n = b[i]", "if n & 128:", f"    {to}, i = read_long(b, i)", "else:")
            self.add(depth + 1, "i += 1", f"{to} = (n >> 1) ^ -(n & 1)")
            if bits == 32:
                wrong = "malformed('a number is too large')"
                self.add(depth, f"if not -2147483648 <= {to} <= 2147483647: {wrong}")
            return
        first, last = INSTANTS[logical]
        if logical == "timestamp-micros":
            # The seven continuation bits are known to be set, so one subtraction takes them off, no masks.
            self.add(depth, "p, q, r, s, w, x, y, z = b[i:i + 8] if i + 8 <= len(b) else NO_EIGHT")
            self.add(depth, "if p & q & r & s & w & x & y & 128 and 0 < z < 128 and not p & 1:")
            self.add(depth + 1, f"{to} = (p + (q << 7) + (r << 14) + (s << 21) - 270549120")
            high = "      + (w + (x << 7) + (y << 14) + (z << 21) - 2113664 << 28)) >> 1"
            self.add(depth + 1, high, "i += 8")
            self.add(depth, "else:", f"    {to}, i = read_long(b, i)")
        else:
            self.add(depth, f"{to}, i = read_long(b, i)")
        self.add(depth, f"if not {first} <= {to} <= {last}: malformed('an instant is out of range')")

    def union(self, branches: Sequence[Schema], to: str, depth: int, form: str | None) -> None:
        if len(branches) == 2 and branches[0] == "null":
            self.add(depth, "n = b[i]", "i += 1", "if not n:", f"    {to} = None")
            self.add(depth, "elif n != 2: malformed('no such branch')", "else:")
            self.value(branches[1], to, depth + 1, form)
            return
        table = self.constant(payload_readers(branches, self.names))
        self.add(depth, "n = b[i]", "if n & 129:", "    n, i = read_index(b, i)")
        self.add(depth, "else:", "    i += 1", "    n >>= 1")
        self.add(depth, f"k, read = {table}[n]", f"{to}, i = read(b, i)", f"{to} = (k, {to})")

    def fields(self, schema: Schema, depth: int) -> list[tuple[str, str]]:
        """Every field into a variable of its own: (field name, variable)."""
        found = [(field, self.fresh()) for field in schema["fields"]]
        last = found[-_GROUP:]
        together = len(found) > 2 * _GROUP and all(may_be_absent(field["type"]) for field, _ in last)
        for field, to in found[:-_GROUP] if together else found:
            self.value(field["type"], to, depth, field.get("format"))
        if together:
            self.group(last, depth)
        return [(field["name"], to) for field, to in found]

    def each_field(self, fields: Sequence[Schema], depth: int) -> list[tuple[str, str]]:
        found = [(field, self.fresh()) for field in fields]
        for field, to in found:
            self.value(field["type"], to, depth, field.get("format"))
        return [(field["name"], to) for field, to in found]

    def fields_in_runs(self, schema: Schema, runs: Mapping[int, int], depth: int) -> list[tuple[str, str]]:
        """As `fields`, but runs of fields are looked up as a whole."""
        fields = schema["fields"]
        pairs: list[tuple[str, str]] = []
        while (at := len(pairs)) < len(fields):
            if at in runs:
                pairs += self.run(fields[at : runs[at]], depth)
            else:
                pairs += self.each_field(fields[at : at + 1], depth)
        return pairs

    def run(self, fields: Sequence[Schema], depth: int) -> list[tuple[str, str]]:
        """Finds where the run ends as if each of its texts were absent or short, and looks its bytes up.

        Bytes that are known are texts: this was checked when they were met first. All others are read one by one.
        """
        known = self.constant(KnownRuns(fields))
        pairs = [(field["name"], self.fresh()) for field in fields]
        self.add(depth, "start = i", "try:")
        self.add(depth + 1, *["i += 2 + (b[i + 1] >> 1) if b[i] else 1"] * len(fields))
        self.add(depth + 1, f"run = {known}.get(b[start:i])")
        self.add(depth, "except IndexError:", "    run = None")
        self.add(depth, "if run is None:", f"    run, i = {known}.read(b, start, i)")
        self.add(depth, f"{', '.join(to for _, to in pairs)}, = run")
        return pairs

    def group(self, group: Sequence[tuple[Schema, str]], depth: int) -> None:
        size = len(group)
        self.add(depth, f"if b[i:i + {size}] == {bytes(size)!r}:", f"    i += {size}")
        self.add(depth + 1, f"{' = '.join(to for _, to in group)} = None")
        self.add(depth, "else:")
        for field, to in group:
            self.value(field["type"], to, depth + 1, field.get("format"))

    def record(self, schema: Schema, to: str, depth: int) -> None:
        pairs = self.fields(schema, depth)
        self.add(depth, f"{to} = {{{', '.join(f'{field_name(name)!r}: {var}' for name, var in pairs)}}}")


def payload_readers(branches: Sequence[Schema], names: Mapping[str, Schema]) -> list[tuple[str, Reader]]:
    """The branches of a union of records, (full name, reader), each compiled when it is first met."""
    readers: list[tuple[str, Reader]] = []

    def to_be_compiled(n: int, branch: Schema) -> Reader:
        def read(b: bytes, i: int) -> tuple[Any, int]:
            made = compile_reader(branch, names)
            readers[n] = full_name(branch), made
            return made(b, i)

        return read

    for n, branch in enumerate(branches):
        schema = names[branch] if isinstance(branch, str) else branch
        if schema["type"] != "record":
            raise TypeError("unions of ours are null and one type, or records")
        readers.append((full_name(schema), to_be_compiled(n, schema)))
    return readers


def compile_reader(schema: Schema, names: Mapping[str, Schema] | None = None) -> Reader:
    """A reader of values of `schema`; `names` resolves what it refers to."""
    source = _Source(names_of(schema) if names is None else names)
    source.add(0, "def read(b, i):")
    source.value(schema, "value", 1)
    source.add(1, "return value, i")
    return _made(source)


def compile_tuple_reader(schema: Schema, shape: type[tuple[Any, ...]]) -> Callable[[bytes, int], Any]:
    """A reader of one record that ends where the bytes end, as the NamedTuple `shape`, which has its fields."""
    source = _Source(names_of(schema))
    source.constants |= {"new": tuple.__new__, "shape": shape}
    source.add(0, "def read(b, i):")
    pairs = source.fields(schema, 1)
    if tuple(name for name, _ in pairs) != shape._fields:  # type: ignore[attr-defined]  # a NamedTuple
        raise TypeError(f"{shape.__name__} does not have the fields of {full_name(schema)}")
    source.add(1, "if i != len(b): malformed('does not end where its last field ends')")
    source.add(1, f"return new(shape, ({', '.join(var for _, var in pairs)}))")
    return _made(source)


def compile_rows_reader(schema: Schema, runs: Mapping[int, int] | None = None) -> RowsReader:
    """(bytes, how many) -> that many records, which end where the bytes end, each as a tuple of its fields.

    `runs`: number of a field -> number behind the last of a run of nullable texts that mostly come together as they
    came before; such a run is looked up as a whole.
    """
    source = _Source(names_of(schema))
    source.add(0, "def read(b, number):", "    i = 0", "    rows = []", "    for _ in range(number):")
    pairs = source.fields(schema, 2) if not runs else source.fields_in_runs(schema, runs, 2)
    source.add(2, f"rows.append(({', '.join(var for _, var in pairs)},))")
    source.add(1, "if i != len(b): malformed('does not end where its last record ends')", "return rows")
    return _made(source)


class KnownRuns(dict[bytes, tuple[Any, ...]]):
    """The bytes of neighbouring texts, met before, and the texts."""

    def __init__(self, fields: Sequence[Schema]) -> None:
        super().__init__()
        source = _Source({})
        source.add(0, "def read(b, i):")
        pairs = source.each_field(fields, 1)
        source.add(1, f"return ({', '.join(var for _, var in pairs)},), i")
        self._read = _made(source)

    def read(self, b: bytes, start: int, end: int) -> tuple[tuple[Any, ...], int]:
        """The texts, and where they end. `end`: where they would if each were short, which those that are kept are."""
        texts, i = self._read(b, start)
        if i == end and len(self) < _KNOWN_TEXTS:
            self[b[start:i]] = texts
        return texts, i


def _made(source: _Source) -> Callable[[bytes, int], Any]:
    code = compile("\n".join(source.lines), "<reader compiled from a schema>", "exec")
    exec(code, source.constants)
    made: Callable[[bytes, int], Any] = source.constants["read"]
    return made
