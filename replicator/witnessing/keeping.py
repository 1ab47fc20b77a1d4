"""What a witness keeps: its key, whom it knows, and the newest note that it cosigned for each origin.

A cosignature leaves only after the note it stands on is on the disk, and the next is decided on what the disk says,
under a lock that holds between processes: whenever a witness is killed, it never signs two trees of one size. A folder
that lost a note is not begun anew in silence: what was known and is not there is damage, and a person's business.

    witness.key                       the private key
    origins/<sha-256 of origin>/      origin.json: origin and keys; newest.note: cosigned last, empty before the first
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from events.durable import disk_errors, put_durably, sync
from events.errors import BadConfiguration, Corrupt, Refused
from events.sqlite_file import folder_lock
from replicator.keys import SEED_BYTES, write_key_file
from replicator.note import TreeHead, Verifier, parse_head
from replicator.witnessing.cosignature import Cosigner, cosigned
from replicator.witnessing.deciding import Refusal, Submitted, Trusted, decide

KEY_FILE = "witness.key"
ORIGINS = "origins"
MAX_ORIGIN_BYTES = 255
_ORIGIN_FILE = "origin.json"
_NEWEST = "newest.note"

Put = Callable[[Path, bytes], None]


class WitnessFolder:
    """A witness's folder. Safe for several threads and processes at once."""

    def __init__(self, path: Path, cosigner: Cosigner, put: Put = put_durably) -> None:
        self.path = path
        self.cosigner = cosigner
        self._put = put

    @classmethod
    def create(
        cls, path: Path, name: str, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> WitnessFolder:
        """A new witness. Raises Refused where one is, BadConfiguration for a name that no key can have."""
        cosigner = Cosigner(name, random(SEED_BYTES))
        write_key_file(path / KEY_FILE, cosigner.secret_text())
        with disk_errors(path):
            (path / ORIGINS).mkdir(exist_ok=True)
            sync(path)
        return cls(path, cosigner)

    @classmethod
    def open(cls, path: Path) -> WitnessFolder:
        """Raises BadConfiguration where no witness is, or its key is damaged."""
        try:
            text = (path / KEY_FILE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise BadConfiguration(
                f"{path} holds no witness", "make one with 'rekam witness init', or name its --folder"
            ) from None
        return cls(path, Cosigner.parse(text))

    def trust(self, origin: str, verifier: Verifier, *, only: bool = False) -> None:
        """Cosigns that origin's checkpoints from now on, where this key signed them. Twice is once.

        `only`: and no other key, of a clinic that rotated its own.
        """
        if not origin or len(origin.encode()) > MAX_ORIGIN_BYTES or not origin.isprintable():
            raise BadConfiguration(
                f"an origin is one line of up to {MAX_ORIGIN_BYTES} bytes", "the first line of every note"
            )
        if verifier.public == self.cosigner.key.public:
            raise Refused("a witness does not vouch for itself", "give the clinic's verification key")
        with disk_errors(self.path), folder_lock(self.path):
            place = self._place(origin)
            known = () if only else self.trusted().get(origin, ())
            text = _origin_text(origin, list(dict.fromkeys([*known, verifier])))
            if place.exists():
                self._put(place / _ORIGIN_FILE, text)
            else:
                self._make(place, text)

    def _make(self, place: Path, text: bytes) -> None:
        fresh = self.path / ORIGINS / f".{secrets.token_hex(8)}"
        fresh.mkdir()
        try:
            self._put(fresh / _ORIGIN_FILE, text)
            self._put(fresh / _NEWEST, b"")
            fresh.rename(place)
            sync(place.parent)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            raise

    def trusted(self) -> Trusted:
        """Whom this witness knows, as the folder says now. Raises Corrupt, Unavailable."""
        with disk_errors(self.path):
            places = [p for p in (self.path / ORIGINS).iterdir() if not p.name.startswith(".")]
            return dict(_parse_origin((place / _ORIGIN_FILE).read_bytes(), place) for place in places)

    def newest(self, origin: str) -> bytes:
        """The note that was cosigned last for an origin that is known; empty before the first.

        Raises Corrupt where it is not what was kept, Unavailable.
        """
        path = self._place(origin) / _NEWEST
        with disk_errors(self.path):
            try:
                note = path.read_bytes()
            except FileNotFoundError:
                raise Corrupt(
                    f"{path} is gone: what this witness cosigned last is not known",
                    "restore it from its copy; without it the witness needs a new key",
                ) from None
        if note:
            self._head(note, origin, path)
        return note

    def _head(self, note: bytes, origin: str, path: Path) -> TreeHead:
        text, times = cosigned(note, [self.cosigner.key], str(path))
        head = parse_head(text, str(path))
        if not times or head.origin != origin:
            raise Corrupt(f"{path} is not what this witness kept", "restore it from its copy")
        return head

    def add(self, submitted: Submitted, seconds: int) -> bytes | Refusal:
        """The cosignature's line, the note kept before; or why not. Raises Corrupt, Unavailable: nothing left then."""
        origin = submitted.head.origin
        with disk_errors(self.path), folder_lock(self._place(origin)):
            kept = self.newest(origin)
            path = self._place(origin) / _NEWEST
            refused = decide(self._head(kept, origin, path) if kept else None, submitted)
            if refused is not None:
                return refused
            line = self.cosigner.cosign(submitted.text, seconds)
            self._put(path, submitted.note + line)
            return line

    def _place(self, origin: str) -> Path:
        return self.path / ORIGINS / hashlib.sha256(origin.encode()).hexdigest()


def _origin_text(origin: str, keys: Sequence[Verifier]) -> bytes:
    return json.dumps({"origin": origin, "keys": [str(key) for key in keys]}, indent=2).encode() + b"\n"


def _parse_origin(data: bytes, place: Path) -> tuple[str, list[Verifier]]:
    try:
        raw = json.loads(data)
        origin, keys = raw["origin"], [Verifier.parse(key) for key in raw["keys"]]
        if hashlib.sha256(origin.encode()).hexdigest() == place.name:
            return origin, keys
    except (ValueError, KeyError, TypeError, AttributeError, BadConfiguration):
        pass
    raise Corrupt(f"{place / _ORIGIN_FILE} is damaged", "restore it from its copy")
