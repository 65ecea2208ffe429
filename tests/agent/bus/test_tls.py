"""The MQTT transport over TLS with client certificates, against mosquitto."""

from __future__ import annotations

import asyncio
import datetime
import getpass
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.broker.mosquitto import find_mosquitto
from fairlead_agent.bus.broker.process import BrokerProcess, free_port
from fairlead_agent.bus.mqtt import MqttTransport
from tests.agent.bus.support import Collector, eventually
from tests.patience import patient

Key = ec.EllipticCurvePrivateKey


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject: str, key: Key, issuer: str, issuer_key: Key, *, authority: bool = False) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def make_files(directory: Path) -> None:
    keys = {who: ec.generate_private_key(ec.SECP256R1()) for who in ("ca", "server", "node-a", "stranger")}
    for who, key in keys.items():
        issuer = who if who in ("ca", "stranger") else "ca"
        made = certificate(who, key, issuer, keys[issuer], authority=issuer == who)
        (directory / f"{who}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (directory / f"{who}.key").write_bytes(text)


def address(directory: Path, port: int, who: str) -> BrokerAddress:
    ca, crt, key = (directory / file for file in ("ca.crt", f"{who}.crt", f"{who}.key"))
    return BrokerAddress("127.0.0.1", port, ca_file=ca, cert_file=crt, key_file=key)


async def test_certificate_is_the_login_and_strangers_stay_out(tmp_path: Path) -> None:
    program = find_mosquitto()
    if program is None:
        pytest.skip("mosquitto is not installed")
    make_files(tmp_path)
    port = free_port()
    lines = [
        f"listener {port} 127.0.0.1",
        *(f"{option} {tmp_path / file}" for option, file in _FILES.items()),
        "require_certificate true",
        "use_identity_as_username true",
        f"user {getpass.getuser()}",
    ]
    (tmp_path / "acl").write_text("pattern readwrite fairlead/1/s/node/%u/#\n")
    (tmp_path / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    broker = BrokerProcess("mosquitto", tmp_path / "log")
    await broker.start(program, "-c", str(tmp_path / "mosquitto.conf"), port=port)
    good = MqttTransport(address(tmp_path, port, "node-a"), "node-a")
    bad = MqttTransport(address(tmp_path, port, "stranger"), "stranger", timeout_s=2)
    seen = Collector()
    good.subscribe("fairlead/1/s/node/node-a/x", seen)
    try:
        await good.start()
        await bad.start()
        large = bytes(500_000)
        await good.publish("fairlead/1/s/node/other/x", b"denied")
        for payload in (b"small", large, b"last"):
            await good.publish("fairlead/1/s/node/node-a/x", payload)
        assert await good.flush(patient(60))
        await eventually(lambda: seen.payloads == [b"small", large, b"last"])
        assert good._session.refused_publishes == 1
        assert not bad.connected
    finally:
        await asyncio.gather(good.close(), bad.close())
        await broker.stop()


_FILES = {"cafile": "ca.crt", "certfile": "server.crt", "keyfile": "server.key", "acl_file": "acl"}


async def test_unusable_certificate_file_is_named_and_retried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = MqttTransport(BrokerAddress("127.0.0.1", 1, ca_file=tmp_path / "missing.crt"), "a")
    await transport.start()
    out = ""

    def named() -> bool:
        nonlocal out
        out += capsys.readouterr().out
        return "missing.crt" in out

    await eventually(named)
    assert not transport.connected
    await transport.close()
