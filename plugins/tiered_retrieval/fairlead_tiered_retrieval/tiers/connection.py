"""A connection to a memory node: who we are, what we want; then a tier takes it over for reads."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fairlead_kernels.vector_tiers import serving

from .node import proof
from .region import RegionUrlError, TierError, TierLost, TierTimeout

#: The header of src/vectors/wire.hpp: magic, operation, status, id, count, bytes, payload's CRC, header's CRC.
HEADER = struct.Struct("<IHHQIIII")
MAGIC, CONTROL, MOST = 0x31544C46, 3, 1 << 20
TOKEN, TOKEN_FILE = "FAIRLEAD_MEMORY_TOKEN", "FAIRLEAD_MEMORY_TOKEN_FILE"


def read_token(url: str, file: str | None = None) -> str:
    """Return the token of a memory node: from a file, else from the environment.

    Raises:
        RegionUrlError: there is none.
    """
    named = file or os.environ.get(TOKEN_FILE)
    if named:
        try:
            return Path(named).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RegionUrlError(f"{url}: token file {named}: {error}") from error
    token = os.environ.get(TOKEN)
    if not token:
        raise RegionUrlError(f"{url}: no token: set {TOKEN}, {TOKEN_FILE} or token_file=PATH")
    return token


def _crc(data: bytes) -> int:
    return int(serving().crc32c(np.frombuffer(data, np.uint8), 0))


class Connection:
    """One connection, authenticated. Every call ends within the timeout.

    Raises:
        TierLost: nobody listens, what listens is no memory node, or it refuses the token.
        TierTimeout: it does not answer.
    """

    def __init__(self, url: str, host: str, port: int, token: str, timeout: float) -> None:
        self.url, self._timeout, self._id = url, timeout, 0
        try:
            self._socket = socket.create_connection((host, port), timeout)
        except TimeoutError as error:
            raise TierTimeout(f"{url}: no connection within {timeout} s", url) from error
        except OSError as error:
            raise TierLost(f"{url}: no connection to {host}:{port}: {error}", url) from error
        try:
            nonce = str(self.ask(op="hello").get("nonce", ""))
            self.ask(op="prove", proof=proof(token, nonce))
        except TierError:
            self.close()
            raise

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a control message, return the answer.

        Raises:
            TierError: as above, and where the node refuses.
        """
        self._id += 1
        payload = json.dumps(message).encode()
        head = HEADER.pack(MAGIC, CONTROL, 0, self._id, 0, len(payload), _crc(payload), 0)[:-4]
        try:
            self._socket.sendall(head + struct.pack("<I", _crc(head)) + payload)
            answer = self._answer()
        except TimeoutError as error:
            raise TierTimeout(f"{self.url}: no answer within {self._timeout} s", self.url) from error
        except OSError as error:
            raise TierLost(f"{self.url}: the connection broke: {error}", self.url) from error
        if "error" in answer:
            raise TierLost(f"{self.url}: the memory node: {answer['error']}", self.url)
        return answer

    def _answer(self) -> dict[str, Any]:
        head = self._exactly(HEADER.size)
        magic, operation, status, number, _, length, payload_crc, head_crc = HEADER.unpack(head)
        if magic != MAGIC or head_crc != _crc(head[:-4]) or operation != CONTROL or length > MOST:
            self._garbage()
        payload = self._exactly(length)
        if payload_crc != _crc(payload) or number != self._id:
            self._garbage()
        if status:
            raise TierLost(f"{self.url}: the memory node: {payload.decode(errors='replace')}", self.url)
        try:
            answer = json.loads(payload)
        except ValueError:
            self._garbage()
        return answer if isinstance(answer, dict) else self._garbage()

    def _exactly(self, length: int) -> bytes:
        got = bytearray()
        while len(got) < length:
            piece = self._socket.recv(length - len(got))
            if not piece:
                raise TierLost(f"{self.url}: the connection was closed: is a memory node there?", self.url)
            got += piece
        return bytes(got)

    def _garbage(self) -> NoReturn:
        raise TierLost(f"{self.url}: what answers is no memory node, or sends garbage", self.url)

    def detach(self) -> int:
        """Return the socket's descriptor, which now belongs to the caller."""
        return self._socket.detach()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
