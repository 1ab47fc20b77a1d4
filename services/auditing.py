"""What an audit is about, from a home folder where there is one and from what the auditor brings along where not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from events.errors import BadInput, WrongUsage
from replicator.auditing.attesting import Outside
from replicator.auditing.examining import Opener
from replicator.config import read_config
from replicator.encryption import Identity
from replicator.keys import load_signing_key
from replicator.note import Signer, Verifier, split_note
from replicator.stores import ObjectReader
from replicator.witnessing.cosignature import WitnessKey, attested_by_witness
from services.home import SIGNING_KEY, Home
from services.owner import FILE_NAME as OWNER_FILE
from services.places import archive_place, object_store
from services.settings import FILE_NAME, FIRST_ARCHIVE, ArchiveSettings
from services.witnessing.fetching import fetch_word
from services.witnessing.standing import cosigned_notes, witnesses_of, word_path


@dataclass(frozen=True)
class Auditing:
    """Everything that an auditor has at hand."""

    settings: ArchiveSettings
    folder: Path
    verifiers: tuple[Verifier, ...]
    identity: Path | None
    outside: tuple[Outside, ...]
    home: Home | None

    def opener(self, *, secret: bool = True) -> Opener:
        """`secret`: with the identity, where there is one."""
        text = _read(self.identity).decode() if secret and self.identity else None
        return partial(_open, self.settings, self.folder, text)

    def cosigned(self, note: bytes) -> str | None:
        """The name of a witness that rekam.toml trusts and that cosigned this newest note; None where none did."""
        if self.home is None:
            return None
        keys = [witness.key for witness in witnesses_of(self.home)]
        text, _ = split_note(note)  # the audit has verified it
        return next(iter(attested_by_witness(text, cosigned_notes(self.home), keys)), None)

    def with_word_of(self, url: str, key: str | None) -> Auditing:
        """With what the witness at `url` cosigned last of this archive, as one more note from outside.

        `key`: the witness's, else the one that rekam.toml has for that url. Raises as `fetch_word` and `read_config`.
        """
        known = [w.key for w in witnesses_of(self.home) if w.url == url] if self.home else []
        anchor = WitnessKey.parse(key) if key else next(iter(known), None)
        config, _ = read_config(self.opener(secret=False)()[0])
        note = fetch_word(url, config.origin, anchor)
        return replace(self, outside=(*self.outside, Outside(url, note)))

    def signer(self) -> Signer | None:
        """The home's signing key, where there is one."""
        path = self.home.keys / SIGNING_KEY if self.home else None
        return load_signing_key(path) if path and path.exists() else None


def _open(
    settings: ArchiveSettings, folder: Path, identity: str | None
) -> tuple[ObjectReader, Identity | None]:
    return object_store(settings, folder), Identity(identity) if identity is not None else None


def auditing(
    folder: Path,
    *,
    archive: str | None,
    endpoint: str | None,
    key: str | None,
    identity: Path | None,
    since: Path | None,
) -> Auditing:
    """`folder`: where a home may be. What is given goes before what the home says. Raises WrongUsage, BadInput."""
    home = Home.open(folder) if (folder / FILE_NAME).exists() else None
    if home is None and archive is None:
        raise WrongUsage("there is no home here, and no archive was named", "name it with --archive")
    named = home is not None and (archive is None or archive in (FIRST_ARCHIVE, *home.settings.archives))
    outside = [Outside(str(since), _read(since))] if since else []
    if home is not None and named:
        home = home.with_archive(archive or FIRST_ARCHIVE)
        settings = home.archive_settings.model_copy(update={"endpoint": endpoint} if endpoint else {})
        if home.seen_path.exists():
            outside.append(Outside(str(home.seen_path), _read(home.seen_path)))
        words = [word_path(home, witness) for witness in witnesses_of(home)]
        outside += [Outside(str(path), _read(path)) for path in words if path.exists()]
    else:
        url = archive_place(archive or "", folder, adopted=True)
        settings = ArchiveSettings(url=url, endpoint=endpoint)
    owner = home.keys / OWNER_FILE if home else None
    return Auditing(
        settings,
        folder,
        tuple(verifiers(home, key)),
        identity or (owner if owner and owner.exists() else None),
        tuple(outside),
        home,
    )


def verifiers(home: Home | None, key: str | None) -> list[Verifier]:
    """The trust anchor: what was given, else what the home's settings hold. Raises BadConfiguration."""
    if key is not None:
        return [Verifier.parse(key)]
    return [home.verifier()] if home is not None and home.settings.keys.verification_key else []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
