"""Encryption of what is archived: age v1 files to X25519 recipients, which the standard `age` program opens too.

Recipients are public: whoever ships cannot read what was shipped. Identities are secret and are needed only to
recover, to take records out, and to verify them one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyrage import DecryptError, IdentityError, RecipientError, decrypt, encrypt, x25519

from events.errors import BadConfiguration, Corrupt, Refused

SUFFIX = ".age"


class Recipients:
    """Who can open what is archived from now on. None: objects are stored in the clear."""

    def __init__(self, texts: Sequence[str]) -> None:
        """`texts`: public keys, `age1…`. Raises BadConfiguration."""
        try:
            self._keys = [x25519.Recipient.from_str(text.strip()) for text in texts]
        except (RecipientError, ValueError) as error:
            raise BadConfiguration("not an age recipient", "a recipient looks like age1…") from error
        self.texts = tuple(text.strip() for text in texts)

    @property
    def suffix(self) -> str:
        """What the keys of encrypted objects end in."""
        return SUFFIX if self._keys else ""

    def seal(self, plain: bytes) -> bytes:
        """The bytes to store."""
        return encrypt(plain, self._keys) if self._keys else plain


class Identity:
    """Secret keys that open what was archived. Its repr shows nothing."""

    def __init__(self, text: str) -> None:
        """`text`: an identity file as age writes it; lines that start with # are comments."""
        lines = [line.strip() for line in text.splitlines()]
        secrets = [line for line in lines if line and not line.startswith("#")]
        try:
            self._keys = [x25519.Identity.from_str(line) for line in secrets]
        except (IdentityError, ValueError):
            self._keys = []
        if not self._keys:
            raise BadConfiguration("not an age identity", "an identity looks like AGE-SECRET-KEY-1…")

    @property
    def recipients(self) -> tuple[str, ...]:
        """Its public keys."""
        return tuple(str(key.to_public()) for key in self._keys)

    def open(self, stored: bytes, where: str) -> bytes:
        """The plain bytes. Raises Refused where this is not the identity, or the bytes were changed."""
        return self.open_with(stored, where)[0]

    def open_with(self, stored: bytes, where: str) -> tuple[bytes, str]:
        """The plain bytes, and the public key of the first of its keys that opens them. Raises as `open`."""
        for key in self._keys:
            try:
                return decrypt(stored, [key]), str(key.to_public())
            except DecryptError as error:
                if "No matching keys" not in str(error):
                    raise Corrupt(f"{where} does not decrypt: its bytes are not what was stored") from None
        raise Refused(f"{where} cannot be opened with this identity", "use the owner's file of this clinic")


def new_identity() -> tuple[str, str]:
    """(identity file text, recipient), from the system's randomness."""
    key = x25519.Identity.generate()
    recipient = str(key.to_public())
    return f"# public key: {recipient}\n{key}\n", recipient


def unseal(stored: bytes, key: str, identity: Identity | None) -> bytes:
    """The plain bytes of the object at `key`. Raises Refused where an identity is needed and none is given."""
    if not key.endswith(SUFFIX):
        return stored
    if identity is None:
        raise Refused(f"{key} is encrypted", "put the owner's file (owner.txt) into the keys folder")
    return identity.open(stored, key)
