"""Desired state is believed only with the site's signature."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.messages import SignedWorkload, Workload
from fairlead_agent.messages.signing import DesiredWorkload, SignatureError, key_id, public_bytes, sign, verify

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"7" * 32)
PUBLIC = public_bytes(PRIVATE)
KEYS = {key_id(PUBLIC): PUBLIC}
DESIRED = DesiredWorkload(site="s", name="w", generation=2, workload=Workload(name="w", plugin="p"))
SIGNED = sign(DESIRED, PRIVATE)


def test_signed_state_is_read_back() -> None:
    assert verify(SIGNED, KEYS, site="s") == DESIRED


def test_deleted_state_is_signed_too() -> None:
    gone = DesiredWorkload(site="s", name="w", generation=3, deleted=True)
    assert verify(sign(gone, PRIVATE), KEYS, site="s") == gone


def test_signature_is_deterministic() -> None:
    assert sign(DESIRED, PRIVATE) == SIGNED


@given(st.integers(0, len(SIGNED.payload) - 1), st.characters())
def test_any_change_of_the_text_is_noticed(at: int, character: str) -> None:
    payload = SIGNED.payload[:at] + character + SIGNED.payload[at + 1 :]
    if payload == SIGNED.payload:
        return
    with pytest.raises(SignatureError):
        verify(SIGNED.model_copy(update={"payload": payload}), KEYS, site="s")


@pytest.mark.parametrize("signature", ["", "!", "AAAA", SIGNED.signature[:-4], SIGNED.signature[::-1]])
def test_bad_signatures(signature: str) -> None:
    with pytest.raises(SignatureError, match="does not match"):
        verify(SIGNED.model_copy(update={"signature": signature}), KEYS, site="s")


def test_unknown_key_other_site_and_other_content() -> None:
    with pytest.raises(SignatureError, match="this site's are"):
        verify(SIGNED, {}, site="s")
    with pytest.raises(SignatureError, match="signed for site 's'"):
        verify(SIGNED, KEYS, site="t")
    import base64

    text = '{"site": "s"}'
    signature = base64.b64encode(PRIVATE.sign(text.encode())).decode()
    odd = SignedWorkload(payload=text, key_id=key_id(PUBLIC), signature=signature)
    with pytest.raises(SignatureError, match="name"):
        verify(odd, KEYS, site="s")
