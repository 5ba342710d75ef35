"""The secure channel after the Noise handshake.

libp2p specification, noise/README.md "Wire Format": two bytes of length, then one Noise
message, ciphertext and 16 bytes of tag.

    │ length │ ciphertext ………………………………… │ tag │ length │ …
    └ 2 ─────┴ 1 … 65519 ────────────────┴ 16 ─┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from praxis_fast.errors import NoiseError
from praxis_fast.wire.noise_state import TAG_SIZE

if TYPE_CHECKING:
    from praxis_fast.wire.noise_state import CipherState

LENGTH_SIZE: Final = 2
MAX_MESSAGE: Final = 65535
MAX_PLAINTEXT: Final = MAX_MESSAGE - TAG_SIZE
OVERHEAD: Final = LENGTH_SIZE + TAG_SIZE

# Below this a fresh bytes object is quicker to encrypt into than a prepared buffer.
SMALL: Final = 8192


class NoiseTransport:
    """Encrypts and decrypts one connection's bytes; dead after any failure.

    Messages are cut off the input where it is, so that a large read costs no copy; only
    a message that is not whole yet is collected in `_buf`.
    """

    __slots__ = ("_buf", "_is_dead", "_receiver", "_sender")

    def __init__(self, sender: CipherState, receiver: CipherState) -> None:
        self._sender = sender
        self._receiver = receiver
        self._buf = bytearray()
        self._is_dead = False

    def send_data(self, data: bytes | bytearray | memoryview) -> bytes | bytearray:
        """The data as full Noise messages, ready for the socket; given away.

        No data gives no message: some peers take an empty one for the end.
        """
        self._check_alive()
        size = len(data)
        try:
            if size <= SMALL:
                return self._one_message(data) if size else b""
            return self._messages(memoryview(data), size)
        except NoiseError:
            self._is_dead = True
            raise

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """The plaintexts of all messages that are whole now, none of them empty.

        A NoiseError holds those found before the bad message in `plaintexts`.
        """
        self._check_alive()
        plaintexts: list[bytes] = []
        try:
            self._read_messages(memoryview(data), plaintexts)
        except NoiseError as error:
            self._is_dead = True
            self._buf.clear()
            error.plaintexts = tuple(plaintexts)
            raise
        return plaintexts

    def receive_eof(self) -> None:
        """NoiseError when the end came inside a message."""
        self._check_alive()
        self._is_dead = True
        if self._buf:
            raise NoiseError(f"end of data, {len(self._buf)} bytes into a message")

    @property
    def pending(self) -> int:
        """Bytes held of a message that is not whole yet."""
        return len(self._buf)

    def _one_message(self, data: bytes | bytearray | memoryview) -> bytes:
        length = (len(data) + TAG_SIZE).to_bytes(LENGTH_SIZE, "big")
        return length + self._sender.encrypt(memoryview(data))

    def _messages(self, data: memoryview, size: int) -> bytearray:
        """All messages in one buffer, each encrypted straight into its place."""
        count = -(-size // MAX_PLAINTEXT)
        out = bytearray(size + count * OVERHEAD)
        view = memoryview(out)
        end = 0
        for start in range(0, size, MAX_PLAINTEXT):
            piece = data[start : start + MAX_PLAINTEXT]
            length = len(piece) + TAG_SIZE
            out[end : end + LENGTH_SIZE] = length.to_bytes(LENGTH_SIZE, "big")
            begin = end + LENGTH_SIZE
            end = begin + length
            self._sender.encrypt_into(piece, view[begin:end])
        return out

    def _read_messages(self, data: memoryview, plaintexts: list[bytes]) -> None:
        pos = self._complete(data, plaintexts) if self._buf else 0
        end = len(data)
        while end - pos >= LENGTH_SIZE:
            size = data[pos] << 8 | data[pos + 1]
            _check_size(size)
            start = pos + LENGTH_SIZE
            if size > end - start:
                break
            pos = start + size
            self._decrypt(data[start:pos], plaintexts)
        self._buf += data[pos:]

    def _complete(self, data: memoryview, plaintexts: list[bytes]) -> int:
        """Bring the message in the buffer to its end; returns the bytes used."""
        buf = self._buf
        used = max(0, min(LENGTH_SIZE - len(buf), len(data)))
        buf += data[:used]
        if len(buf) < LENGTH_SIZE:
            return used
        size = buf[0] << 8 | buf[1]
        _check_size(size)
        rest = data[used : used + size + LENGTH_SIZE - len(buf)]
        buf += rest
        if len(buf) == size + LENGTH_SIZE:
            message = bytes(buf)
            buf.clear()
            self._decrypt(memoryview(message)[LENGTH_SIZE:], plaintexts)
        return used + len(rest)

    def _decrypt(self, message: memoryview, plaintexts: list[bytes]) -> None:
        plaintext = self._receiver.decrypt(message)
        if plaintext:
            plaintexts.append(plaintext)

    def _check_alive(self) -> None:
        if self._is_dead:
            raise NoiseError("secure channel is over after an error or its end")


def _check_size(size: int) -> None:
    if size < TAG_SIZE:
        raise NoiseError(f"noise message of {size} bytes, at least {TAG_SIZE} expected")
