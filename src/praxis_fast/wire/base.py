"""Text forms of byte strings: base58btc, base36, base32 and base16.

base58btc as Bitcoin and IPFS use it; base32 is RFC 4648 in lower case without
padding. Decoding is strict: each byte string has exactly one text.
"""

from __future__ import annotations

from praxis_fast.errors import AddressError

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"

# The integer arithmetic below is quadratic; nothing on the wire is near this long.
MAX_TEXT = 1024

_BASE58_VALUES = {char: value for value, char in enumerate(BASE58)}
_BASE36_VALUES = {char: value for value, char in enumerate(BASE36)}
_BASE32_VALUES = {char: value for value, char in enumerate(BASE32)}


def encode_base58(data: bytes) -> str:
    """The base58btc text of the data."""
    return _encode_number(data, BASE58)


def decode_base58(text: str) -> bytes:
    """The bytes of a base58btc text."""
    return _decode_number(text, _BASE58_VALUES, "base58")


def encode_base36(data: bytes) -> str:
    """The base36 text of the data."""
    return _encode_number(data, BASE36)


def decode_base36(text: str) -> bytes:
    """The bytes of a lower-case base36 text."""
    return _decode_number(text, _BASE36_VALUES, "base36")


def encode_base32(data: bytes) -> str:
    """The base32 text of the data, lower case and without padding."""
    spare = -len(data) * 8 % 5
    number = int.from_bytes(data, "big") << spare
    count = (len(data) * 8 + spare) // 5
    return "".join(
        BASE32[number >> 5 * place & 31] for place in range(count - 1, -1, -1)
    )


def decode_base32(text: str) -> bytes:
    """The bytes of a lower-case base32 text without padding."""
    number = _number(text, _BASE32_VALUES, "base32")
    size, spare = divmod(len(text) * 5, 8)
    if spare >= 5 or number & (1 << spare) - 1:
        raise AddressError(f"base32 text of {len(text)} characters has stray bits")
    return (number >> spare).to_bytes(size, "big")


def _encode_number(data: bytes, alphabet: str) -> str:
    """Leading zero bytes become leading zero digits, the rest is one number."""
    rest = data.lstrip(b"\0")
    number = int.from_bytes(rest, "big")
    digits = []
    while number:
        number, digit = divmod(number, len(alphabet))
        digits.append(alphabet[digit])
    return alphabet[0] * (len(data) - len(rest)) + "".join(reversed(digits))


def _decode_number(text: str, values: dict[str, int], name: str) -> bytes:
    number = _number(text, values, name)
    zero = next(iter(values))
    zeros = len(text) - len(text.lstrip(zero))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _number(text: str, values: dict[str, int], name: str) -> int:
    """The digits of the text as one number."""
    if len(text) > MAX_TEXT:
        raise AddressError(f"{name} text of {len(text)} characters, limit {MAX_TEXT}")
    number = 0
    for char in text:
        value = values.get(char)
        if value is None:
            raise AddressError(f"character {char!r} is not {name}")
        number = number * len(values) + value
    return number
