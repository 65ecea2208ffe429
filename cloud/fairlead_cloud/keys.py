"""The site's signing key, in a file that only its owner may read."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fairlead_agent.messages import SignedWorkload
from fairlead_agent.messages.signing import DesiredWorkload, key_id, public_bytes, sign


class KeyFileError(RuntimeError):
    """The key file cannot be read or holds no Ed25519 key."""


class SiteKey:
    """Signs desired state."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public = public_bytes(private_key)
        self.id = key_id(self.public)

    def sign(self, desired: DesiredWorkload) -> SignedWorkload:
        """Return the signed form of ``desired``."""
        return sign(desired, self._private_key)

    def __repr__(self) -> str:
        return f"SiteKey({self.id})"

    @classmethod
    def load_or_create(cls, path: Path) -> SiteKey:
        """Read the key at ``path``, or make one there (mode 0600).

        Raises:
            KeyFileError: the file is no Ed25519 key in PEM form, or cannot be read or written.
        """
        try:
            if path.exists():
                return cls(_load(path))
            return cls(_create(path))
        except OSError as error:
            raise KeyFileError(f"site key {path}: {error.strerror}") from None


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        raise KeyFileError(f"site key {path}: not an unencrypted private key in PEM form") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"site key {path}: not an Ed25519 key")
    return key


def _create(path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key
