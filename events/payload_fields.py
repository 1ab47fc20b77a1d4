"""What the fields of a payload may hold where it enters: the types that the generated models are made of.

The models in events/payloads are generated from the schemas; these types carry the rules. They are checked once,
when a command, a form or a foreign resource becomes an event, and never on replay (a reader checks what databases
need, see `events.avro_reading`). Everything that passes here can be written and read back.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from events.avro_schema import DECIMAL, FIRST_MICROS, KEY_BYTES, LAST_MICROS
from events.envelope import Payload

TEXT_CHARACTERS = 200_000
"""Longest text of one field; a note of a hundred pages fits."""
CODE_CHARACTERS = 255

_DATE = (
    r"^[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01])"
    r"(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?)?)?$"
)


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not hold NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can hold") from None
    return value


def _key(value: str) -> str:
    if len(_no_nul(value).encode()) > KEY_BYTES:
        raise ValueError(f"must have at most {KEY_BYTES} bytes")
    return value


def _decimal(value: str) -> str:
    if DECIMAL.fullmatch(value) is None:
        raise ValueError("must be plain decimal text: no exponent, no leading zeros, no minus zero")
    return value


Text = Annotated[str, StringConstraints(max_length=TEXT_CHARACTERS), AfterValidator(_no_nul)]
Key = Annotated[str, StringConstraints(min_length=1), AfterValidator(_key)]
Code = Annotated[
    str,
    StringConstraints(max_length=CODE_CHARACTERS, pattern=r"^\S+( \S+)*$"),
    AfterValidator(_no_nul),
]
"""As FHIR has it: no space in front, behind, or twice."""
DecimalText = Annotated[str, AfterValidator(_decimal)]
Nik = Annotated[str, StringConstraints(pattern=r"^[0-9]{16}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Date = Annotated[str, StringConstraints(pattern=_DATE)]
"""YYYY, YYYY-MM, YYYY-MM-DD or a full time with its offset, as given."""
Micros = Annotated[int, Field(ge=FIRST_MICROS, le=LAST_MICROS)]
"""Microseconds since 1970 UTC."""
Int = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Long = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Bytes16 = Annotated[bytes, Field(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, Field(min_length=32, max_length=32)]


class Part(BaseModel):
    """A named record of the schemas. Unknown fields and silent conversions are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class EventPayload(Part):
    """A payload; `type_name` is its event type's full name."""

    type_name: ClassVar[str]

    def to_payload(self) -> Payload:
        """The form in which `events.codec` takes it."""
        fields: dict[str, Any] = self.model_dump()
        return self.type_name, fields
