"""Which byte strings are good Ed25519 public keys.

The verifying library looks at the point only while it verifies, and takes points of
small order, for which anyone can make signatures. RFC 8032 §5.1.3 and §5.1.7.
"""

from __future__ import annotations

from typing import Final

KEY_SIZE: Final = 32

PRIME: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, PRIME) % PRIME

# y of the points of order 1, 2, 4 and 8; derived again in the tests.
SMALL_ORDER: Final = frozenset(
    {
        1,
        PRIME - 1,
        0,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    }
)


def check_point(data: bytes) -> str | None:
    """What is wrong with a public key, or None."""
    fault = check_form(data)
    if fault is None and not _is_on_curve(_y(data)):
        return "the point is not on the curve"
    return fault


def check_form(data: bytes) -> str | None:
    """What is wrong with a public key that verifying would not find, or None."""
    if len(data) != KEY_SIZE:
        return f"{len(data)} bytes, expected {KEY_SIZE}"
    y = _y(data)
    if y >= PRIME:
        return "the point is not canonical"
    if y in SMALL_ORDER:
        return "the point has a small order"
    return None


def _y(data: bytes) -> int:
    return int.from_bytes(data, "little") & ~(1 << 255)


def _is_on_curve(y: int) -> bool:
    """Whether x² = (y² - 1) / (d·y² + 1) has a root, by Euler's criterion."""
    square = y * y % PRIME
    ratio = (square - 1) * (_D * square + 1) % PRIME  # times a square: same character
    return pow(ratio, (PRIME - 1) // 2, PRIME) in (0, 1)
