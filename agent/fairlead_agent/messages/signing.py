"""Ed25519 signatures over desired state.

Nodes verify with PyNaCl, imported at first use: it costs an agent 1 MiB of resident memory, cryptography 7 MiB. Whoever
holds the site's private key signs with cryptography, which reads and writes key files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from fairlead_agent.messages.base import Frozen, Name
from fairlead_agent.messages.envelope import describe
from fairlead_agent.messages.workload import SignedWorkload, Workload

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class SignatureError(ValueError):
    """Desired state that the site's key did not sign, or that was signed for another site or name."""


class DesiredWorkload(Frozen):
    """What is signed. ``workload`` is None when the workload was deleted."""

    site: Name
    name: Name
    generation: int = Field(ge=1)
    deleted: bool = False
    workload: Workload | None = None


def key_id(public_key: bytes) -> str:
    """The short name of a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def public_bytes(private_key: Ed25519PrivateKey) -> bytes:
    """The raw 32-byte public key of a private key."""
    return private_key.public_key().public_bytes_raw()


def sign(desired: DesiredWorkload, private_key: Ed25519PrivateKey) -> SignedWorkload:
    """Sign desired state with the site's key."""
    payload = json.dumps(desired.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    signature = base64.b64encode(private_key.sign(payload.encode())).decode()
    return SignedWorkload(payload=payload, key_id=key_id(public_bytes(private_key)), signature=signature)


def verify(signed: SignedWorkload, public_keys: dict[str, bytes], *, site: str) -> DesiredWorkload:
    """Check the signature and return what was signed.

    Args:
        signed: the retained message.
        public_keys: the site's raw Ed25519 public keys by :func:`key_id`.
        site: this node's site; desired state of another site is refused.

    Raises:
        SignatureError: unknown key, wrong signature, other site, or a payload that is no desired state.
    """
    public_key = public_keys.get(signed.key_id)
    if public_key is None:
        raise SignatureError(f"workload is signed by key {signed.key_id!r}, this site's are {sorted(public_keys)}")
    _check(signed, public_key)
    try:
        desired = DesiredWorkload.model_validate_json(signed.payload)
    except ValidationError as error:
        raise SignatureError(f"signed payload does not fit: {describe(error)}") from None
    if desired.site != site:
        raise SignatureError(f"workload {desired.name!r} was signed for site {desired.site!r}, this is {site!r}")
    return desired


def _check(signed: SignedWorkload, public_key: bytes) -> None:
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    try:
        signature = base64.b64decode(signed.signature, validate=True)
        VerifyKey(public_key).verify(signed.payload.encode(), signature)
    except (BadSignatureError, binascii.Error, ValueError):
        raise SignatureError(f"signature by key {signed.key_id!r} does not match the workload") from None
