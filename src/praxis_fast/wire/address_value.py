"""The values inside a multiaddr, between text and bytes.

Each codec is strict both ways: a value that does not fit is an AddressError, and what
it gives back is canonical.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from praxis_fast.errors import AddressError
from praxis_fast.wire.peer_id import PeerID

if TYPE_CHECKING:
    from collections.abc import Callable

# RFC 1035 §2.3.4: a domain name has at most 255 bytes.
MAX_NAME = 255


class Codec(NamedTuple):
    """How the value of one kind of protocol is written."""

    to_bytes: Callable[[str], bytes]
    to_text: Callable[[bytes], str]
    clean: Callable[[str], str] | None = None
    """From any text to the canonical one; None when that needs the bytes."""


def _ip4_bytes(text: str) -> bytes:
    try:
        return ipaddress.IPv4Address(text).packed
    except ValueError as error:
        raise AddressError(f"{text!r} is not an IPv4 address") from error


def _ip6_bytes(text: str) -> bytes:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError as error:
        raise AddressError(f"{text!r} is not an IPv6 address") from error
    if address.scope_id is not None:
        raise AddressError(f"{text!r} has a zone, which goes into ip6zone")
    return address.packed


def _number_bytes(text: str, size: int, most: int) -> bytes:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise AddressError(f"{text!r} is not a number up to {most}")
    if int(text) > most:
        raise AddressError(f"number {text}, limit {most}")
    return int(text).to_bytes(size, "big")


def _name_bytes(text: str) -> bytes:
    data = text.encode(errors="surrogatepass")
    _name_text(data)
    return data


def _name_text(data: bytes) -> str:
    if not 0 < len(data) <= MAX_NAME:
        raise AddressError(f"name of {len(data)} bytes, limit {MAX_NAME}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise AddressError(f"name {data!r} is not UTF-8") from error
    if not text.isprintable() or "/" in text or " " in text:
        raise AddressError(f"name {text!r} has characters that do not belong there")
    return text


def _hash_bytes(text: str) -> bytes:
    """A multihash in base64url, the one form certificate hashes have in practice."""
    if not text.startswith("u"):
        raise AddressError(f"hash {text!r} is not multibase base64url")
    digits = text[1:]
    try:
        data = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    except (binascii.Error, ValueError) as error:
        raise AddressError(f"hash {text!r} is not base64url") from error
    if not data or _hash_text(data) != text:
        raise AddressError(f"hash {text!r} is not base64url")
    return data


def _hash_text(data: bytes) -> str:
    return "u" + base64.urlsafe_b64encode(data).decode().rstrip("=")


IP4 = Codec(_ip4_bytes, lambda data: str(ipaddress.IPv4Address(data)))
IP6 = Codec(_ip6_bytes, lambda data: str(ipaddress.IPv6Address(data)))
PORT = Codec(
    lambda text: _number_bytes(text, 2, 65535),
    lambda data: str(int.from_bytes(data, "big")),
)
MASK = Codec(
    lambda text: _number_bytes(text, 1, 255),
    lambda data: str(int.from_bytes(data, "big")),
)
TEXT = Codec(_name_bytes, _name_text)
PEER = Codec(
    lambda text: PeerID.parse(text).multihash,
    PeerID.from_bytes,
    PeerID.parse,
)
HASH = Codec(_hash_bytes, _hash_text)
