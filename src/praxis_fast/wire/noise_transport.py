"""The secure channel after the Noise handshake.

libp2p specification, noise/README.md "Wire Format": two bytes of length, then one Noise
message, ciphertext and 16 bytes of tag.

    │ length │ ciphertext ………………………………… │ tag │ length │ …
    └ 2 ─────┴ 1 … 65519 ────────────────┴ 16 ─┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from praxis_fast.errors import NoiseError, UsageError
from praxis_fast.wire.noise_state import TAG_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

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
            out = bytearray(_encrypted_size(size))
            self._fill(memoryview(data), size, memoryview(out))
            return out
        except NoiseError:
            self._is_dead = True
            raise

    def send_into(self, data: bytes | bytearray | memoryview, buf: memoryview) -> int:
        """Like `send_data`, into the buffer; returns how many bytes of it."""
        self._check_alive()
        size = len(data)
        end = _encrypted_size(size)
        if end > len(buf):
            raise UsageError(f"buffer of {len(buf)} bytes, {end} needed")
        try:
            self._fill(memoryview(data), size, buf)
        except NoiseError:
            self._is_dead = True
            raise
        return end

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """The plaintexts of all messages that are whole now, none of them empty.

        A NoiseError holds those found before the bad message in `plaintexts`.
        """
        self._check_alive()
        plaintexts: list[bytes] = []
        try:
            for message in self._cut(memoryview(data)):
                plaintext = self._receiver.decrypt(message)
                if plaintext:
                    plaintexts.append(plaintext)
        except NoiseError as error:
            self._die()
            error.plaintexts = tuple(plaintexts)
            raise
        return plaintexts

    def receive_into(self, data: memoryview, total: int, buf: memoryview) -> memoryview:
        """Like `receive_data` of the first `total` bytes, side by side in the buffer.

        Returns that part of the buffer, which must have room for all that is `pending`
        and given. What `_cut` does is done here once more, and no slice is made twice:
        most messages are small and come alone, and each would pay for it.
        """
        if self._is_dead or len(buf) < len(self._buf) + total:
            self._check_receive(total, len(buf))
        decrypt_into = self._receiver.decrypt_into
        pos = end = 0
        try:
            if self._buf:
                message, pos = self._complete(data[:total])
                if message is not None:
                    end = len(message) - TAG_SIZE
                    decrypt_into(message, buf[:end])
            while total - pos >= LENGTH_SIZE:
                size = data[pos] << 8 | data[pos + 1]
                if size < TAG_SIZE:
                    _check_size(size)
                first = pos + LENGTH_SIZE
                if size > total - first:
                    break
                pos = first + size
                start, end = end, end + size - TAG_SIZE
                plaintext = buf[start:end]
                decrypt_into(data[first:pos], plaintext)
                if pos == total and not start:
                    return plaintext
        except NoiseError:
            self._die()
            raise
        if pos < total:
            self._buf += data[pos:total]
        return buf[:end]

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
        return length + self._sender.encrypt(data)

    def _fill(self, data: memoryview, size: int, buf: memoryview) -> None:
        """All messages, each encrypted straight into its place."""
        end = 0
        for start in range(0, size, MAX_PLAINTEXT):
            piece = data[start : start + MAX_PLAINTEXT]
            length = len(piece) + TAG_SIZE
            buf[end : end + LENGTH_SIZE] = length.to_bytes(LENGTH_SIZE, "big")
            begin = end + LENGTH_SIZE
            end = begin + length
            self._sender.encrypt_into(piece, buf[begin:end])

    def _cut(self, data: memoryview) -> Iterator[memoryview]:
        """The messages that are whole now; keeps the rest."""
        pos = 0
        if self._buf:
            message, pos = self._complete(data)
            if message is not None:
                yield message
        end = len(data)
        while end - pos >= LENGTH_SIZE:
            size = data[pos] << 8 | data[pos + 1]
            _check_size(size)
            start = pos + LENGTH_SIZE
            if size > end - start:
                break
            pos = start + size
            yield data[start:pos]
        if pos < end:
            self._buf += data[pos:]

    def _complete(self, data: memoryview) -> tuple[memoryview | None, int]:
        """The message in the buffer, if it is whole now, and the bytes used for it."""
        buf = self._buf
        used = max(0, min(LENGTH_SIZE - len(buf), len(data)))
        buf += data[:used]
        if len(buf) < LENGTH_SIZE:
            return None, used
        size = buf[0] << 8 | buf[1]
        _check_size(size)
        rest = data[used : used + size + LENGTH_SIZE - len(buf)]
        buf += rest
        used += len(rest)
        if len(buf) < size + LENGTH_SIZE:
            return None, used
        self._buf = bytearray()
        return memoryview(buf)[LENGTH_SIZE:], used

    def _check_receive(self, size: int, room: int) -> None:
        self._check_alive()
        needed = len(self._buf) + size
        if room < needed:
            raise UsageError(f"buffer of {room} bytes, {needed} needed")

    def _die(self) -> None:
        self._is_dead = True
        self._buf.clear()

    def _check_alive(self) -> None:
        if self._is_dead:
            raise NoiseError("secure channel is over after an error or its end")


def _encrypted_size(size: int) -> int:
    return size + -(-size // MAX_PLAINTEXT) * OVERHEAD


def _check_size(size: int) -> None:
    if size < TAG_SIZE:
        raise NoiseError(f"noise message of {size} bytes, at least {TAG_SIZE} expected")
