"""The owner's file and the sheet: what a clinic must keep outside its machines.

The owner's file is an age identity file, so the standard `age` program opens the archive with it; its comment lines
carry the signing key and the verification key too. With the archive it is all that an empty machine needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from events.errors import BadInput

FILE_NAME = "owner.txt"
SHEET_NAME = "sheet.txt"
_CLINIC = "# rekam clinic: "
_SIGNING = "# rekam signing key: "
_NEXT_SIGNING = "# rekam next signing key: "
_VERIFICATION = "# rekam verification key: "
_RECIPIENT = "# public key: "
_EARLIER = "# an earlier one: opens what was shipped before it was rotated"


@dataclass(frozen=True)
class Owner:
    """The keys of a clinic. Never printed but into its own file."""

    clinic_id: str
    identity: str
    """AGE-SECRET-KEY-1…: opens what was shipped."""
    recipient: str
    """age1…: what is shipped is sealed to it."""
    signing_key: str
    """Signs checkpoints."""
    verification_key: str
    """What checkpoints are checked with: the trust anchor."""
    next_signing_key: str = ""
    """While that is rotated: what will sign, or does already. Empty: nothing is under way."""
    earlier: tuple[str, ...] = ()
    """AGE-SECRET-KEY-1… that were rotated away: they open what was shipped before."""

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """Those that may be in force."""
        return tuple(filter(None, (self.signing_key, self.next_signing_key)))

    @property
    def identities(self) -> tuple[str, ...]:
        """The one in force first."""
        return (self.identity, *self.earlier)

    def __repr__(self) -> str:
        return f"Owner(clinic_id={self.clinic_id!r}, verification_key={self.verification_key!r})"


def owner_text(owner: Owner) -> str:
    return (
        f"{_CLINIC}{owner.clinic_id}\n{_RECIPIENT}{owner.recipient}\n{_VERIFICATION}{owner.verification_key}\n"
        f"{_SIGNING}{owner.signing_key}\n"
        + (f"{_NEXT_SIGNING}{owner.next_signing_key}\n" if owner.next_signing_key else "")
        + f"{owner.identity}\n"
        + "".join(f"{_EARLIER}\n{identity}\n" for identity in owner.earlier)
    )


def read_owner(path: Path) -> Owner:
    """The owner's file. Raises BadInput naming what it lacks; its text never stands in an error."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path} cannot be read: {getattr(error, 'strerror', 'it is no text')}",
            "give the owner's file of 'rekam init'",
        ) from None

    def after(prefix: str) -> str:
        return next((line.removeprefix(prefix).strip() for line in lines if line.startswith(prefix)), "")

    identity, *earlier = [line.strip() for line in lines if line.startswith("AGE-SECRET-KEY-")] or [""]
    owner = Owner(
        after(_CLINIC),
        identity,
        after(_RECIPIENT),
        after(_SIGNING),
        after(_VERIFICATION),
        after(_NEXT_SIGNING),
        tuple(earlier),
    )
    parts = {
        "the age identity": identity,
        "the clinic's id": owner.clinic_id,
        "the recipient": owner.recipient,
        "the signing key": owner.signing_key,
        "the verification key": owner.verification_key,
    }
    missing = [name for name, value in parts.items() if not value]
    if missing:
        raise BadInput(
            f"{path} lacks {', '.join(missing)}", "give the owner.txt that 'rekam init' wrote, unchanged"
        )
    return owner


def on_paper(place: str, home: Path) -> str:
    """A place as paper needs it: whoever reads the sheet when the home is gone knows no folder to count from."""
    return place if "://" in place else str(home / Path(place).expanduser())


def sheet(owner: Owner, clinic: str, archive: str, backups: str, keys: Path) -> str:
    """What to keep where: printed at `rekam init`, to be put on paper. Holds no secret."""
    return f"""\
Rekam: what the owner of this clinic keeps
==========================================
Clinic              {clinic} ({owner.clinic_id})
Archive             {archive}
Backups of keys     {backups}
Verification key    {owner.verification_key}

1. {keys / FILE_NAME} opens the archive and signs for the clinic. Copy it to two places that are neither this machine
   nor the archive: a USB stick in a safe, a sealed envelope. Who has it and the archive has every record; who has
   lost it has lost the archive.
2. Print this sheet. An auditor checks the archive against the verification key printed here, never against one that
   is found in the archive.
3. The archive belongs on another disk, better another building. Its folder or bucket is in rekam.toml.
4. So do the backups of the patients' keys: what the archive holds of a patient is sealed, and without them it stays
   so. They belong to a place without versions or locks, since erasing a patient means that their key is gone.
5. After a loss, on an empty machine, with the archive, the backups of keys and {FILE_NAME} and nothing else:
       rekam init --from ARCHIVE --identity {FILE_NAME}     (and --key-backup PLACE, if they are not beside it)
       rekam recover --to latest
"""
